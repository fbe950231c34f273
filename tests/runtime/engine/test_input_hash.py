"""Frames that mean something else have other hashes; equal ones have the same."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from spinert.proto import inference_pb2 as pb
from spinert.runtime.engine.input_hash import input_sha256
from spinert.runtime.frame import DicomFrame, EncodedFrame, RawFrame
from spinert.runtime.image import Photometric, Rescale, Spacing, VoiFunction, Window

RAW = RawFrame(
    rows=2,
    columns=3,
    bits_stored=12,
    is_signed=False,
    photometric=Photometric.MONOCHROME2,
    data=bytes(range(12)),
    window=Window(center=40.0, width=400.0),
    rescale=Rescale(slope=1.0, intercept=0.0),
    spacing=Spacing(row_mm=0.2, column_mm=0.1),
)
OTHERS = {
    "pixels": {"data": bytes(range(1, 13))},
    "rows and columns": {"rows": 3, "columns": 2},
    "bits": {"bits_stored": 11},
    "sign": {"is_signed": True},
    "photometric": {"photometric": Photometric.MONOCHROME1},
    "window centre": {"window": Window(center=41.0, width=400.0)},
    "window width": {"window": Window(center=40.0, width=401.0)},
    "window function": {
        "window": Window(center=40.0, width=400.0, function=VoiFunction.SIGMOID)
    },
    "no window": {"window": None},
    "slope": {"rescale": Rescale(slope=2.0, intercept=0.0)},
    "intercept": {"rescale": Rescale(slope=1.0, intercept=-5.0)},
    "no rescale": {"rescale": None},
    "row spacing": {"spacing": Spacing(row_mm=0.1, column_mm=0.1)},
    "column spacing": {"spacing": Spacing(row_mm=0.2, column_mm=0.2)},
    "no spacing": {"spacing": None},
}


@pytest.mark.parametrize("frame", [DicomFrame, EncodedFrame])
def test_files_are_hashed_as_they_are(frame):
    digest = hashlib.sha256(b"file").hexdigest()
    assert input_sha256(frame(data=b"file")) == digest
    assert input_sha256(frame(data=memoryview(b"file"))) == digest


@pytest.mark.parametrize("what", OTHERS)
def test_raw_frames_that_mean_something_else_have_other_hashes(what):
    assert input_sha256(replace(RAW, **OTHERS[what])) != input_sha256(RAW)


def test_equal_raw_frames_have_equal_hashes():
    other = replace(RAW, data=memoryview(RAW.data))
    assert input_sha256(other) == input_sha256(RAW)


def test_a_client_can_compute_the_hash_of_what_it_sent():
    sent = pb.RawImage(
        rows=2,
        columns=3,
        bits_stored=12,
        photometric_interpretation=pb.MONOCHROME2,
        window=pb.Window(window_center=40, window_width=400, function=pb.LINEAR),
        rescale=pb.Rescale(slope=1),
        spacing=pb.Spacing(row_mm=0.2, column_mm=0.1),
    )
    content = sent.SerializeToString(deterministic=True) + RAW.data
    assert input_sha256(RAW) == hashlib.sha256(content).hexdigest()
