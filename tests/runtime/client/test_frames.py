"""Frames a device makes, and the bytes they become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import (
    Frame,
    FrameOptions,
    Output,
    Photometric,
    PixelFormat,
    Priority,
    Rescale,
    Spacing,
    VoiFunction,
    Window,
)
from spinert.runtime.client.wire import (
    bytes_from_outgoing,
    outgoing_analyze,
    outgoing_frame,
)


def sent(frame, frame_id="", sequence=0):
    message = outgoing_frame(frame, frame_id, sequence)
    data = bytes_from_outgoing(message)
    assert message.size_bytes == len(data)
    return pb.StreamRequest.FromString(data).frame


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (bytes(128) + b"DICM" + b"rest", "dicom"),
        (b"\x89PNG\r\n\x1a\n" + b"rest", "encoded"),
        (b"\xff\xd8\xff\xe0rest", "encoded"),
        (b"\xff\xd8\xff" + bytes(125) + b"DICM", "dicom"),
        (b"something else", "dicom"),
        (b"", "dicom"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(tmp_path, content, kind):
    path = tmp_path / "file"
    path.write_bytes(content)
    frame = sent(Frame.from_path(path))
    assert frame.WhichOneof("content") == kind
    assert getattr(frame, kind) == content


@given(
    st.binary(max_size=300),
    st.text(max_size=10),
    st.integers(0, 2**64 - 1),
    st.builds(
        FrameOptions,
        study_uid=st.text(max_size=5),
        series_uid=st.text(max_size=5),
        priority=st.sampled_from([None, *Priority]),
        outputs=st.frozensets(st.sampled_from(Output)),
        timeout_ms=st.integers(0, 2**32 - 1),
    ),
)
def test_the_bytes_are_those_protobuf_would_write(data, frame_id, sequence, options):
    expected = pb.Frame(
        frame_id=frame_id,
        sequence=sequence,
        dicom=data,
        study_uid=options.study_uid,
        series_uid=options.series_uid,
        priority=options.priority.value if options.priority else 0,
        outputs=sorted(output.value for output in options.outputs),
        timeout_ms=options.timeout_ms,
    )
    frame = Frame.from_dicom(data, options)
    assert sent(frame, frame_id, sequence) == expected
    analyze = pb.AnalyzeRequest.FromString(
        bytes_from_outgoing(outgoing_analyze(frame, frame_id, "d"))
    )
    expected.sequence = 0
    assert analyze == pb.AnalyzeRequest(frame=expected, device="d")


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", ">u2", ">i2"])
def test_an_array_arrives_as_little_endian_stored_values(dtype):
    pixels = np.arange(-3, 3).astype(dtype).reshape(2, 3)
    bits = 8 * pixels.dtype.itemsize
    raw = sent(Frame.from_array(pixels, PixelFormat(bits_stored=bits))).raw
    assert (raw.rows, raw.columns, raw.bits_stored) == (2, 3, bits)
    assert raw.is_signed == (pixels.dtype.kind == "i")
    stored = np.frombuffer(raw.pixels, pixels.dtype.newbyteorder("<"))
    assert np.array_equal(stored.reshape(2, 3), pixels)


def test_a_strided_array_arrives_whole():
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6)[::2, ::3]
    raw = sent(Frame.from_array(pixels, PixelFormat(bits_stored=10))).raw
    assert raw.pixels == np.array([0, 3, 12, 15], "<u2").tobytes()


def test_what_the_numbers_mean_arrives():
    meaning = PixelFormat(
        bits_stored=12,
        photometric=Photometric.MONOCHROME1,
        window=Window(center=40, width=400, function=VoiFunction.SIGMOID),
        rescale=Rescale(slope=2, intercept=-1),
        spacing=Spacing(row_mm=0.14, column_mm=0.15),
    )
    raw = sent(Frame.from_array(np.zeros((2, 2), np.uint16), meaning)).raw
    raw.ClearField("pixels")
    assert raw == pb.RawImage(
        rows=2,
        columns=2,
        bits_stored=12,
        photometric_interpretation=pb.MONOCHROME1,
        window=pb.Window(window_center=40, window_width=400, function=pb.SIGMOID),
        rescale=pb.Rescale(slope=2, intercept=-1),
        spacing=pb.Spacing(row_mm=0.14, column_mm=0.15),
    )


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [
        (np.zeros((2, 2, 2), np.uint8), 8),
        (np.zeros(4, np.uint8), 8),
        (np.zeros((2, 2), np.float32), 8),
        (np.zeros((2, 2), np.uint32), 16),
        (np.zeros((2, 2), bool), 1),
        (np.zeros((2, 2), np.uint8), 9),
        (np.zeros((2, 2), np.uint16), 8),
        (np.zeros((2, 2), np.uint16), 17),
    ],
)
def test_an_array_that_the_wire_cannot_say_is_refused(pixels, bits):
    with pytest.raises(ValueError, match="bits_stored"):
        Frame.from_array(pixels, PixelFormat(bits_stored=bits))
