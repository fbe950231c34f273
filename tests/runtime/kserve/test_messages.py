"""Requests are read without copying their tensors, and as protobuf reads them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kserves import request_of

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.errors import ProtocolViolation
from spinert.runtime.kserve.messages import received_from_bytes
from spinert.runtime.server.large_fields import MIN_VIEW_BYTES

LARGE = np.arange(MIN_VIEW_BYTES, dtype=np.uint8).reshape(1, 1, -1, 256)


def large_request():
    sizes = np.array([[3, 4]], np.int32)
    request = request_of(
        "detector", {"image": LARGE, "image_size": sizes}, outputs=("boxes",), id="a"
    )
    request.parameters["priority"].int64_param = 1
    return request


def assert_read_as_protobuf_does(message):
    received = received_from_bytes(message)
    try:
        expected = oip.ModelInferRequest.FromString(message)
    except Exception:
        assert isinstance(received, ProtocolViolation)
        return
    assert [bytes(c) for c in received.raw_contents] == list(
        expected.raw_input_contents
    )
    received.request.ClearField("raw_input_contents")
    expected.ClearField("raw_input_contents")
    assert received.request == expected


def test_a_large_tensor_is_a_view_of_the_message():
    message = large_request().SerializeToString()
    received = received_from_bytes(message)
    image, size = received.raw_contents
    assert image.obj is message
    assert (image.nbytes, size.nbytes) == (LARGE.nbytes, 8)
    assert not received.request.raw_input_contents
    assert_read_as_protobuf_does(message)


def test_fields_may_come_in_any_order_and_twice():
    request = large_request()
    rest = large_request()
    rest.ClearField("raw_input_contents")
    raw = oip.ModelInferRequest(raw_input_contents=request.raw_input_contents)
    message = (
        raw.SerializeToString()
        + rest.SerializeToString()
        + oip.ModelInferRequest(raw_input_contents=[b"x"], id="b").SerializeToString()
    )
    assert_read_as_protobuf_does(message)
    assert received_from_bytes(message).request.id == "b"
    assert received_from_bytes(message).raw_contents[0].obj is message


@pytest.mark.parametrize(
    "extra",
    [
        b"\x08\x01",  # field 1 as a number
        b"\x80\x01\x01",  # a field above 15
        b"\x82\x01\x02\x3a\x00",  # such a field, whose value looks like an entry
        b"\x3a\xff\xff\xff\xff\x0f",  # longer than the message
        b"\x3a\xff\xff\xff\xff\xff\x01",  # a length of six bytes
        b"\x3a",  # no length
        b"\x3d1234",  # four bytes, fixed
        b"\x3b\x3c",  # a group
        b"\x3a\x00" * 70,  # many entries
    ],
)
def test_what_looks_otherwise_is_judged_by_protobuf(extra):
    message = large_request().SerializeToString()
    assert_read_as_protobuf_does(message + extra)
    assert_read_as_protobuf_does(extra + message)


@given(st.data())
def test_damaged_messages_are_read_as_protobuf_reads_them(data):
    message = bytearray(large_request().SerializeToString())
    heads = st.integers(0, 200) | st.integers(len(message) - 40, len(message) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(heads)] = data.draw(st.integers(0, 255))
    assert_read_as_protobuf_does(
        bytes(message[: data.draw(st.just(len(message)) | heads)])
    )
