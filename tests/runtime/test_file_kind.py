"""What a file is, told from how it begins."""

from __future__ import annotations

import pytest

from spinert.runtime.file_kind import (
    FILE_HEAD_BYTES,
    JPEG_BEGIN,
    PNG_BEGIN,
    FileKind,
    file_kind_of,
)

DICOM = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (DICOM, FileKind.DICOM),
        (PNG_BEGIN, FileKind.PNG),
        (JPEG_BEGIN + b"\xe0", FileKind.JPEG),
        (PNG_BEGIN + bytes(120) + b"DICM", FileKind.DICOM),
        (JPEG_BEGIN + bytes(125) + b"DICM", FileKind.DICOM),
        (DICOM[:-1], None),
        (bytes(127) + b"DICM", None),
        (PNG_BEGIN[:-1], None),
        (JPEG_BEGIN[:-1], None),
        (b"", None),
    ],
)
@pytest.mark.parametrize("rest", [b"", bytes(40)])
@pytest.mark.parametrize("view", [bytes, memoryview])
def test_a_head_tells_what_a_file_is(head, kind, rest, view):
    if len(head) < FILE_HEAD_BYTES and rest:
        head = head.ljust(FILE_HEAD_BYTES, b"\0")
    assert file_kind_of(view(head + rest)) is kind
