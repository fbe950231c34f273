"""Which files of a folder are frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.file_kind import FILE_HEAD_BYTES, file_kind_of

__all__ = ["frame_paths"]

_SUFFIXES = {".dcm", ".dic", ".dicom", ".ima", ".jpeg", ".jpg", ".png"}


def frame_paths(paths: Iterable[Path]) -> list[Path]:
    """Return the files to analyse, in the order given, folders sorted by name.

    A file named by the caller is always taken. Of a folder, searched with its
    subfolders, those are taken that end like a DICOM, PNG or JPEG file or begin
    like one; hidden files are left out.

    Raises:
        ConfigError: A path does not exist, or a folder holds no frame.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(Reason.CONFIG_INVALID, f"{path} does not exist")
        if path.is_file():
            found.append(path)
            continue
        inside = [p for p in sorted(path.rglob("*")) if p.is_file() and _is_frame(p)]
        if not inside:
            raise ConfigError(
                Reason.CONFIG_INVALID, f"{path} holds no DICOM, PNG or JPEG file"
            )
        found.extend(inside)
    return found


def _is_frame(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in _SUFFIXES or _begins_like_a_frame(path)


def _begins_like_a_frame(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(FILE_HEAD_BYTES)
    except OSError:
        return True  # so that it is listed as unreadable, not passed over
    return file_kind_of(head) is not None
