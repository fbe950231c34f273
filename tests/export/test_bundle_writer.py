"""A bundle takes its place whole, or what was there stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spinert.export.bundle_writer import staged
from spinert.export.errors import DestinationError
from spinert.proto.bundle_directory import MANIFEST


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a place where an older bundle is."""
    path = tmp_path / "bundle"
    path.mkdir()
    (path / MANIFEST).write_text("old")
    return path


def test_a_full_disk_is_one_line_and_leaves_the_old_bundle(directory) -> None:
    message = r"bundle: cannot be written: No space"
    with (
        pytest.raises(DestinationError, match=message),
        staged(directory, replace=True),
    ):
        full_disk()
    assert [path.name for path in directory.parent.iterdir()] == ["bundle"]
    assert (directory / MANIFEST).read_text() == "old"


def test_a_new_bundle_that_cannot_take_the_place_gives_the_old_one_back(
    directory, monkeypatch
) -> None:
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if path.name == "new":
            full_disk()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with (
        pytest.raises(DestinationError, match="cannot be written"),
        staged(directory, replace=True),
    ):
        pass
    assert [path.name for path in directory.parent.iterdir()] == ["bundle"]
    assert (directory / MANIFEST).read_text() == "old"


def test_an_error_of_another_kind_passes_unchanged(directory) -> None:
    with pytest.raises(KeyError), staged(directory, replace=True):
        raise KeyError
    assert (directory / MANIFEST).read_text() == "old"
