"""One small bundle, exported once for all tests that need real networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_networks import SMALL, write_recipe

from spinert.export.pipeline import export_bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    directory = folder / "bundle"
    recipe = write_recipe(folder)
    export_bundle(recipe, directory, lambda *_: None, architectures=SMALL)
    return directory
