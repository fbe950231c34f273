"""Find annotated images by their identifiers, and their sizes in file headers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError

from spinert.evaluation.errors import DataError
from spinert.evaluation.problems import Problem, ProblemCode

__all__ = ["ImageIndex", "image_index", "image_size", "images_directory"]

_DICOM: Final = (".dicom", ".dcm")
# In order of preference where one image is there in several forms.
_SUFFIXES: Final = (*_DICOM, ".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """The images below one folder by identifier: the file name without its suffix."""

    directory: Path
    paths: MappingProxyType[str, Path]
    problems: tuple[Problem, ...]
    """DUPLICATE_IMAGE for each file that another of the same name comes before."""


def images_directory(data: Path, split: str | None) -> Path:
    """Return the folder of images of `split`: `data`/{split}_images.

    Without a split it is `data` itself.

    Raises:
        DataError: There is no such folder.
    """
    directory = data if split is None else data / f"{split}_images"
    if not directory.is_dir():
        hint = "" if split is None else "; leave the split out if DATA holds the images"
        raise DataError(f"no folder {directory}{hint}")
    return directory


def image_index(directory: Path) -> ImageIndex:
    """List DICOM, PNG and JPEG files below `directory`, also in subfolders.

    Of files with the same identifier the first is taken: DICOM before PNG before
    JPEG, then by path.

    Raises:
        DataError: There is no image.
    """
    found = sorted(
        (p for p in directory.rglob("*") if p.suffix.lower() in _SUFFIXES),
        key=lambda p: (_SUFFIXES.index(p.suffix.lower()), p),
    )
    if not found:
        raise DataError(f"{directory} holds no .dicom, .dcm, .png or .jpg file")
    paths: dict[str, Path] = {}
    problems = []
    for path in found:
        if path.stem not in paths:
            paths[path.stem] = path
            continue
        used = paths[path.stem].relative_to(directory)
        ignored = path.relative_to(directory)
        text = f"{ignored} is ignored: {used} has the same identifier"
        problems.append(
            Problem(
                row=None,
                image_id=path.stem,
                code=ProblemCode.DUPLICATE_IMAGE,
                text=text,
            )
        )
    return ImageIndex(
        directory=directory,
        paths=MappingProxyType(paths),
        problems=tuple(problems),
    )


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height in pixels from the header; None if it cannot be read."""
    if path.suffix.lower() in _DICOM:
        return _dicom_size(path)
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _dicom_size(path: Path) -> tuple[int, int] | None:
    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["Rows", "Columns"]
        )
        return int(header.Columns), int(header.Rows)
    except (AttributeError, InvalidDicomError, OSError, TypeError, ValueError):
        return None
