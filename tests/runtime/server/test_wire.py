"""The copy-free parser says exactly what protobuf says."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import ProtocolViolation, Reason
from spinert.runtime.server import wire
from spinert.runtime.server.large_fields import MIN_VIEW_BYTES

BIG = b"\x07" * MIN_VIEW_BYTES


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


payloads = st.binary(max_size=9)
unknown = st.one_of(
    st.builds(field, st.integers(20, 40), st.integers(0, 2**63)),
    st.builds(field, st.integers(20, 40), st.binary(max_size=5)),
    st.just(varint(21 << 3 | 1) + b"12345678"),
    st.just(varint(21 << 3 | 5) + b"1234"),
)
odd = st.sampled_from(
    [
        varint(22 << 3 | 3) + varint(22 << 3 | 4),  # an empty group
        varint(22 << 3 | 7),  # a wire type that does not exist
        b"\x02\x01x",  # field 0
        varint(30 << 3) + b"\x80" * 9 + b"\x01",  # the longest varint
        varint(30 << 3) + b"\x80" * 10 + b"\x01",  # a longer one
        b"\xa2\x81\x80\x80\x00\x01x",  # an overlong tag
        b"\x1a\xff\xff\xff\xff\xff\x01",  # a length beyond 2 GiB
        field(3, 7),  # known fields of the wrong wire type
        field(4, 7),
        field(9, 7),
        b"\x1a\x81\x80\x80\x80\x80\x00x",  # a payload's length in six bytes
        b"\x4a\x81\x80\x80\x80\x80\x00x",
        field(1, b"\xff"),  # not UTF-8
    ]
)


def mostly(usual, *, also):
    company = st.lists(st.one_of(usual, also), max_size=3)
    in_company = st.builds(lambda a, b: a + b"".join(b), usual, company)
    return st.one_of(usual, in_company, also)


def among(content, others):
    others = st.lists(others, max_size=3).map(b"".join)
    return st.builds(lambda a, b, c: a + b + c, others, content, others)


pixels = mostly(st.builds(field, st.just(9), payloads), also=odd)
raw_others = st.one_of(
    st.builds(field, st.integers(1, 5), st.integers(0, 70000)),
    st.builds(field, st.sampled_from([6, 7, 8]), st.just(b"")),
    unknown,
)
raw_fields = st.one_of(st.just(b""), among(pixels, raw_others))
contents = st.one_of(
    st.builds(field, st.sampled_from([3, 5]), payloads),
    st.builds(field, st.just(4), raw_fields),
)
frame_others = st.one_of(
    st.builds(field, st.just(1), st.text(max_size=5).map(str.encode)),
    st.builds(field, st.sampled_from([2, 8, 9, 10]), st.integers(0, 2**31)),
    unknown,
)
frame_fields = among(mostly(contents, also=odd), frame_others)


def envelopes(number, others):
    frames = mostly(st.builds(field, st.just(number), frame_fields), also=odd)
    whole = among(frames, st.one_of(others, unknown))
    cut = st.builds(lambda b, n: b[: len(b) - n], whole, st.integers(1, 9))
    alone = st.builds(field, st.just(number), frame_fields)
    return st.one_of(alone, whole, cut)


def payload_of(frame):
    kind = frame.WhichOneof("content")
    if kind == "raw":
        return frame.raw.pixels
    return getattr(frame, kind) if kind else b""


def put_back(received):
    frame = pb.Frame()
    frame.CopyFrom(received.frame)
    kind = frame.WhichOneof("content")
    if kind == "raw":
        frame.raw.pixels = bytes(received.payload)
    elif kind:
        setattr(frame, kind, bytes(received.payload))
    return frame


@pytest.fixture(scope="module")
def no_size_limit():
    """Let small messages take the way of large ones: they say more per example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MIN_VIEW_BYTES", 0)
        yield


def same(received, frame):
    return put_back(received) == frame and bytes(received.payload) == payload_of(frame)


@pytest.mark.usefixtures("no_size_limit")
@settings(max_examples=1000)
@given(envelopes(2, st.builds(field, st.just(1), st.just(b"\x0a\x01d"))))
def test_a_stream_request_reads_as_protobuf_reads_it(message):
    parsed = wire.stream_request_from_bytes(message)
    try:
        expected = pb.StreamRequest.FromString(message)
    except DecodeError:
        assert isinstance(parsed, ProtocolViolation)
        return
    if expected.HasField("frame"):
        assert same(parsed, expected.frame)
    else:
        assert parsed == expected


@pytest.mark.usefixtures("no_size_limit")
@settings(max_examples=1000)
@given(envelopes(1, st.builds(field, st.just(2), st.just(b"dev"))))
def test_an_analyze_request_reads_as_protobuf_reads_it(message):
    parsed = wire.analyze_from_bytes(message)
    try:
        expected = pb.AnalyzeRequest.FromString(message)
    except DecodeError:
        assert isinstance(parsed, ProtocolViolation)
        return
    assert parsed.device == expected.device
    if expected.HasField("frame"):
        assert same(parsed.received, expected.frame)
    else:
        assert parsed.received is None


FRAMES = [
    pb.Frame(frame_id="a", sequence=7, dicom=BIG, study_uid="1.2", timeout_ms=5),
    pb.Frame(frame_id="a", encoded=BIG, outputs=[1, 2], priority=2),
    pb.Frame(
        frame_id="a",
        raw=pb.RawImage(rows=2, columns=3, pixels=BIG, spacing=pb.Spacing(row_mm=1)),
        series_uid="1.3",
    ),
    pb.Frame(raw=pb.RawImage(pixels=BIG)),
]


@pytest.mark.parametrize("frame", FRAMES, ids=["dicom", "encoded", "raw", "bare"])
def test_a_large_payload_is_a_view_of_the_message(frame):
    message = pb.StreamRequest(frame=frame).SerializeToString()
    parsed = wire.stream_request_from_bytes(message)
    assert isinstance(parsed.payload, memoryview)
    assert parsed.payload.obj is message
    assert same(parsed, frame)
    request = pb.AnalyzeRequest(frame=frame, device="d").SerializeToString()
    analyze = wire.analyze_from_bytes(request)
    assert analyze.received.payload.obj is request
    assert same(analyze.received, frame)


def test_rubbish_is_a_violation_and_not_an_exception():
    for parse in (wire.analyze_from_bytes, wire.stream_request_from_bytes):
        for rubbish in (b"\xff", b"\x0a\x7f", BIG):
            assert parse(rubbish).reason is Reason.MALFORMED_MESSAGE


class CountingBytes(bytes):
    """Counts how often Python looks at one of its bytes."""

    looks = 0

    def __getitem__(self, key):
        self.looks += 1
        return super().__getitem__(key)


MANY_FIELDS = field(15, 0) * (MIN_VIEW_BYTES // 2)
ENDLESS_VARINT = varint(15 << 3) + b"\x80" * MIN_VIEW_BYTES


@pytest.mark.parametrize(
    "message",
    [
        MANY_FIELDS,
        ENDLESS_VARINT,
        field(2, MANY_FIELDS),
        field(1, MANY_FIELDS),
        field(2, field(4, MANY_FIELDS)),
        field(2, ENDLESS_VARINT),
    ],
    ids=["fields", "varint", "stream frame", "analyze frame", "raw", "varint inside"],
)
def test_python_looks_at_few_bytes_of_a_message_of_any_shape(message):
    """It runs on the event loop: a message of tiny fields must not hold it up."""
    for parse in (wire.analyze_from_bytes, wire.stream_request_from_bytes):
        counted = CountingBytes(message)
        parse(counted)
        assert counted.looks < 1000
