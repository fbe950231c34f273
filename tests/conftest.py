"""One small bundle, exported once for all tests that need real networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from support.small_networks import SMALL, write_recipe

from spinert.export.pipeline import export_bundle

# No test is timed; how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the processes they start, out of the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle of small networks; test processes share one."""
    base = tmp_path_factory.getbasetemp()
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = (base if alone else base.parent) / "small-bundle"
    directory = folder / "bundle"
    with FileLock(f"{folder}.lock"):
        if not directory.exists():
            folder.mkdir()
            recipe = write_recipe(folder)
            export_bundle(recipe, directory, lambda *_: None, architectures=SMALL)
    return directory
