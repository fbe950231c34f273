"""Servers that do not keep to the protocol: a typed error, never a hang or a loss."""

import asyncio
import time
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import (
    AsyncClient,
    Frame,
    PixelFormat,
    RequestFailed,
    SharedMemory,
)
from spinert.runtime.client.errors import failure_from_rpc_error
from spinert.runtime.errors import Overloaded, Reason, StreamStateError
from spinert.runtime.server.faults import abort
from spinert.runtime.server.service import SERVICE

EIGHT_BIT = PixelFormat(bits_stored=8)
LIMITS = pb.Limits(max_frames_in_flight=4, max_message_bytes=2**20)
OPENED = pb.StreamReply(
    opened=pb.Opened(limits=LIMITS, resume_token="token", resume_window_ms=5000)
)
BOTH_KINDS = pytest.mark.parametrize("resumable", [False, True])


def credit(frames):
    return pb.StreamReply(credit=pb.Credit(frames=frames))


def result(sequence):
    return pb.StreamReply(result=pb.Result(sequence=sequence))


def opened(**fields):
    reply = pb.StreamReply()
    reply.CopyFrom(OPENED)
    for name, value in fields.items():
        setattr(reply.opened, name, value)
    return reply


@asynccontextmanager
async def answering(script, register=None):
    """Serve every stream by `script`, which gets the call and its number from 0.

    `register` serves the calls that tell of shared memory.
    """
    calls = []

    async def stream(_, context):
        calls.append(context)
        await script(context, len(calls) - 1)

    methods = {
        "Stream": grpc.stream_stream_rpc_method_handler(
            stream,
            request_deserializer=pb.StreamRequest.FromString,
            response_serializer=pb.StreamReply.SerializeToString,
        ),
        "RegisterRegion": grpc.unary_unary_rpc_method_handler(
            register, response_serializer=pb.RegisterRegionReply.SerializeToString
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def answers_of(script, resumable, count=3, register=None, **client_options):
    """Return the numbers answered, and the error that a stream ends in."""

    async def source():
        for _ in range(count):
            yield Frame.from_array(np.eye(8, dtype=np.uint8), EIGHT_BIT)

    async def main():
        found = []
        async with (
            answering(script, register) as address,
            AsyncClient(address, **client_options) as client,
        ):
            try:
                async for answer in client.stream(source(), resumable=resumable):
                    found.append(answer.sequence)
            except RequestFailed as failure:
                return found, failure
        return found, None

    return asyncio.run(asyncio.wait_for(main(), 30))


async def frames_read(context, count):
    """Read until so many frames were there."""
    while count:
        request = await context.read()
        assert request is not grpc.aio.EOF
        count -= request.HasField("frame")


async def served(context, _):
    await context.write(OPENED)
    await context.write(credit(4))
    await frames_read(context, 3)
    for sequence in (1, 2, 3):
        await context.write(result(sequence))
    while await context.read() is not grpc.aio.EOF:
        pass


@BOTH_KINDS
def test_a_server_that_keeps_to_it_is_no_error(resumable):
    """Otherwise all of the below could fail for another reason."""
    assert answers_of(served, resumable) == ([1, 2, 3], None)


@BOTH_KINDS
@pytest.mark.parametrize("sequence", [4, 99])
def test_an_answer_to_a_frame_that_was_not_sent_is_a_typed_error(resumable, sequence):
    async def script(context, _):
        await context.write(OPENED)
        await context.write(credit(4))
        await frames_read(context, 3)
        await context.write(result(1))
        await context.write(result(sequence))
        await context.read()

    found, failure = answers_of(script, resumable)
    assert found == [1]
    assert (failure.reason, failure.status) == ("", grpc.StatusCode.INTERNAL)
    assert f"answered frame {sequence}" in failure.message


def test_an_answer_to_a_frame_that_is_yet_to_be_sent_again_is_a_typed_error():
    """The server says that it has the first alone, and answers the second."""

    async def script(context, number):
        if number == 0:
            await context.write(OPENED)
            await context.write(credit(4))
            await frames_read(context, 3)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        await context.write(opened(received_sequence=1))
        await context.write(result(2))
        await context.write(credit(4))
        await context.read()

    found, failure = answers_of(script, resumable=True)
    assert found == []
    assert "answered frame 2" in failure.message


def test_an_answer_that_comes_again_after_a_break_is_none():
    async def script(context, number):
        if number == 0:
            await context.write(OPENED)
            await context.write(credit(4))
            await frames_read(context, 3)
            await context.write(result(1))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        await context.write(opened(received_sequence=3))
        for sequence in (1, 2, 3):
            await context.write(result(sequence))
        await context.write(credit(4))
        while await context.read() is not grpc.aio.EOF:
            pass

    assert answers_of(script, resumable=True) == ([1, 2, 3], None)


@pytest.mark.parametrize("has_taken", [False, True])
def test_a_server_that_opens_and_at_once_breaks_is_given_up(has_taken):
    """Taking the same frame again and again is no progress either."""
    calls = []

    async def script(context, number):
        calls.append(number)
        taken = 1 if number and has_taken else 0
        await context.write(opened(resume_window_ms=700, received_sequence=taken))
        if not number:
            await context.write(credit(1))
            await frames_read(context, 1)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")

    found, failure = answers_of(script, resumable=True)
    assert (found, failure.status) == ([], grpc.StatusCode.UNAVAILABLE)
    # Pauses double from 50 ms on; each may be halved, and progress starts them anew.
    assert 3 <= len(calls) <= 20


@pytest.mark.parametrize("has_answers", [False, True])
def test_a_server_that_gets_further_on_every_connection_is_not_given_up(has_answers):
    """It takes one frame each, or answers one each; all in all, longer than kept."""
    count = 12

    async def script(context, number):
        received = 0 if has_answers else min(number, count)
        reply = opened(resume_window_ms=600, received_sequence=received)
        reply.opened.limits.max_frames_in_flight = count
        await context.write(reply)
        if number < count:
            await context.write(credit(1))
            await frames_read(context, 1)
            if has_answers:
                await context.write(result(number + 1))
            await asyncio.sleep(0.07)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        for sequence in range(1, count + 1):
            await context.write(result(sequence))
        await context.write(credit(1))
        while await context.read() is not grpc.aio.EOF:
            pass

    expected = list(range(1, count + 1))
    assert answers_of(script, resumable=True, count=count) == (expected, None)


def test_a_restarted_server_that_never_opens_the_stream_is_given_up():
    async def script(context, number):
        if number == 0:
            await context.write(opened(resume_window_ms=500))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        if number == 1:
            forgotten = StreamStateError(Reason.RESUME_TOKEN_UNKNOWN, "forgotten")
            await abort(context, forgotten)
        while await context.read() is not grpc.aio.EOF:
            pass

    found, failure = answers_of(script, resumable=True)
    assert found == []
    assert "again within 0.5 s" in failure.message


def test_a_stream_that_is_full_is_opened_when_the_server_said_it_may_be():
    """As after a restart, when the others have come back before."""
    full = Overloaded(Reason.RESUME_STREAMS_FULL, "retry later")
    full.retry_after_ms = 100
    times_s = []

    async def script(context, number):
        times_s.append(time.monotonic())
        if number in (1, 2):
            await abort(context, full)
        await context.write(OPENED)
        await context.write(credit(4))
        await frames_read(context, 3)
        if not number:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        for sequence in (1, 2, 3):
            await context.write(result(sequence))
        while await context.read() is not grpc.aio.EOF:
            pass

    assert answers_of(script, resumable=True) == ([1, 2, 3], None)
    assert len(times_s) == 4
    assert times_s[3] - times_s[1] >= 0.2


def test_a_break_while_a_restarted_server_is_told_of_the_memory_is_passed_over():
    told = []

    async def register(_, context):
        told.append(context)
        if len(told) == 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        return pb.RegisterRegionReply()

    async def script(context, number):
        if number == 1:
            forgotten = StreamStateError(Reason.RESUME_TOKEN_UNKNOWN, "forgotten")
            await abort(context, forgotten)
        await context.write(OPENED)
        await context.write(credit(4))
        await frames_read(context, 3)
        if number < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a broken connection")
        for sequence in (1, 2, 3):
            await context.write(result(sequence))
        while await context.read() is not grpc.aio.EOF:
            pass

    memory = SharedMemory(slot_mib=1)
    found = answers_of(script, True, register=register, shared_memory=memory)
    assert found == ([1, 2, 3], None)
    # At the start, and twice to the restarted server; not on every connection.
    assert len(told) == 3


def test_a_server_that_has_more_frames_than_were_sent_is_a_typed_error():
    async def script(context, _):
        await context.write(opened(received_sequence=1))
        await context.write(credit(4))
        await context.read()

    found, failure = answers_of(script, resumable=True)
    assert found == []
    assert "frames that were not sent" in failure.message


def test_a_resumable_stream_that_is_not_opened_is_a_typed_error():
    async def script(context, _):
        await context.write(credit(4))
        await context.read()

    found, failure = answers_of(script, resumable=True)
    assert found == []
    assert "before it opened" in failure.message


@pytest.mark.parametrize(
    ("resumable", "answered"),
    # An acknowledgement on its way would make it a broken connection.
    [(False, 0), (False, 2), (True, 0)],
)
def test_a_stream_that_ends_as_if_all_were_done_is_a_typed_error(resumable, answered):
    async def script(context, _):
        await context.write(OPENED)
        await context.write(credit(2))
        await frames_read(context, 2)
        for sequence in range(1, answered + 1):
            await context.write(result(sequence))

    found, failure = answers_of(script, resumable)
    assert found == list(range(1, answered + 1))
    assert failure.status is grpc.StatusCode.INTERNAL
    assert "before every frame was answered" in failure.message


@BOTH_KINDS
def test_a_refusal_that_names_no_frame_is_the_end_of_the_stream(resumable):
    refusal = pb.FrameError(code=3, reason="MALFORMED_MESSAGE", message="check it")

    async def script(context, _):
        await context.write(OPENED)
        await context.write(credit(4))
        await frames_read(context, 1)
        await context.write(pb.StreamReply(frame_error=refusal))
        await context.read()

    found, failure = answers_of(script, resumable)
    assert found == []
    assert failure.reason == Reason.MALFORMED_MESSAGE
    assert failure.message == "check it"
    assert failure.status is grpc.StatusCode.INVALID_ARGUMENT


class Trailers:
    """As much of a failed call as is looked at."""

    def __init__(self, details):
        self._details = details

    def trailing_metadata(self):
        return (("grpc-status-details-bin", self._details),)

    def details(self):
        return "busy"

    def code(self):
        return grpc.StatusCode.RESOURCE_EXHAUSTED


def status_with(retry_after_ms):
    status = status_pb2.Status(code=8)
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="spinert")
    info.metadata["retry_after_ms"] = retry_after_ms
    status.details.add().Pack(info)
    return status.SerializeToString()


@pytest.mark.parametrize(
    ("details", "reason", "retry_after_ms"),
    [
        (status_with("250"), "QUEUE_FULL", 250),
        (status_with("soon"), "QUEUE_FULL", 0),
        (status_with("-1"), "QUEUE_FULL", 0),
        (b"\xff\xff no status", "", 0),
    ],
)
def test_details_that_are_none_leave_the_status(details, reason, retry_after_ms):
    failure = failure_from_rpc_error(Trailers(details))
    assert (failure.reason, failure.retry_after_ms) == (reason, retry_after_ms)
    assert failure.message == "busy"
