"""Frames are told apart by what decoding them takes, without decoding them."""

from __future__ import annotations

import pytest
from support.engines import raw, request

from spinert.runtime.decode.transfer_syntax import TRANSFER_SYNTAXES
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.frame import DicomFrame, EncodedFrame


class Elsewhere:
    """Bytes in shared memory, which nobody may touch yet."""

    nbytes = 5000

    def fetch(self):
        raise AssertionError("read before it was admitted")


def dicom(uid, size=5000):
    head = bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\xb4\x00\x00\x00"
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    head += b"\x02\x00\x10\x00UI" + len(padded).to_bytes(2, "little") + padded
    return head.ljust(size, b"\0")


def kind(content):
    return kind_of(request(content))


@pytest.mark.parametrize("uid", TRANSFER_SYNTAXES)
def test_the_codec_of_a_dicom_file_is_seen(uid):
    codec = TRANSFER_SYNTAXES[uid].codec.name
    assert kind(DicomFrame(data=dicom(uid))) == f"DicomFrame {codec} 13"
    assert kind(DicomFrame(data=memoryview(dicom(uid)))) == f"DicomFrame {codec} 13"


@pytest.mark.parametrize(
    "data",
    [b"", b"DICM", dicom("9.9.9"), dicom("1.2.840.10008.1.2.4.57")[:140], bytes(5000)],
)
def test_what_is_not_known_is_a_kind_of_its_own(data):
    assert kind(DicomFrame(data=data)) == f"DicomFrame {len(data).bit_length()}"


def test_a_dicom_file_may_begin_like_another():
    uid = "1.2.840.10008.1.2.4.57"
    data = b"\x89PNG\r\n\x1a\n" + dicom(uid)[8:]
    assert kind(DicomFrame(data=data)) == kind(DicomFrame(data=dicom(uid)))


def test_png_and_jpeg_are_told_apart():
    png, jpeg = b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff\xd8\xff" + bytes(50)
    assert kind(EncodedFrame(data=png)) != kind(EncodedFrame(data=jpeg))


def test_sizes_count_by_powers_of_two():
    same, more = raw(rows=80, columns=64), raw(rows=90, columns=64)
    assert kind(same) == kind(more) == "RawFrame 13"
    assert kind(raw(rows=320, columns=64)) == "RawFrame 15"


def test_what_lies_in_shared_memory_is_not_read():
    assert kind(DicomFrame(data=Elsewhere())) == "DicomFrame 13"
