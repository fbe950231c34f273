"""One small bundle, exported once for all tests that need real networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small_networks import SMALL, write_recipe

from spinert.export.pipeline import export_bundle


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the processes they start, out of the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    directory = folder / "bundle"
    recipe = write_recipe(folder)
    export_bundle(recipe, directory, lambda *_: None, architectures=SMALL)
    return directory
