"""What a file is, told from how it begins."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["FILE_HEAD_BYTES", "JPEG_BEGIN", "PNG_BEGIN", "FileKind", "file_kind_of"]

PNG_BEGIN: Final = b"\x89PNG\r\n\x1a\n"
"""ISO/IEC 15948 section 5.2."""
JPEG_BEGIN: Final = b"\xff\xd8\xff"
"""Start of image and the first byte of the next marker, ITU-T T.81 B.1.1."""
_DICOM_PREFIX: Final = b"DICM"
_DICOM_PREAMBLE_BYTES: Final = 128
FILE_HEAD_BYTES: Final = _DICOM_PREAMBLE_BYTES + len(_DICOM_PREFIX)
"""As many of a file tell what it is."""


class FileKind(Enum):
    """A file that may be a frame."""

    DICOM = auto()
    PNG = auto()
    JPEG = auto()


def file_kind_of(head: bytes | memoryview) -> FileKind | None:
    """Return what begins with `head` (`FILE_HEAD_BYTES` or more), or None.

    The preamble of a DICOM file is free (PS3.10 section 7.1) and may begin like
    another file, so its prefix decides.
    """
    if head[_DICOM_PREAMBLE_BYTES:FILE_HEAD_BYTES] == _DICOM_PREFIX:
        return FileKind.DICOM
    if head[: len(PNG_BEGIN)] == PNG_BEGIN:
        return FileKind.PNG
    return FileKind.JPEG if head[: len(JPEG_BEGIN)] == JPEG_BEGIN else None
