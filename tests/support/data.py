"""Real radiographs for tests: the project's data folder and pydicom-data."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def data_directory() -> Path:
    """Return the folder of real radiographs, or skip the test."""
    path = Path(os.environ.get("SPINERT_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("no real radiographs: set SPINERT_DATA to the folder that has them")
    return path


def pydicom_data(name: str) -> Path:
    """Return a file of the package pydicom-data, which the test lock installs."""
    spec = find_spec("data_store")
    if spec is None or spec.origin is None:
        raise RuntimeError("pydicom-data is not installed: run `make test`")
    return Path(spec.origin).parent / "data" / name
