"""Plain generated stubs: what a client without our own code would do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from spinert.proto import inference_pb2 as pb
from spinert.proto import inference_pb2_grpc

ROOMY = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


@asynccontextmanager
async def stub_of(address: str, options: Any = ROOMY) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield inference_pb2_grpc.SpineInferenceStub(channel)


def raw_frame(frame_id: str = "", sequence: int = 0, **fields: Any) -> pb.Frame:
    raw = pb.RawImage(
        rows=2,
        columns=3,
        bits_stored=8,
        photometric_interpretation=pb.MONOCHROME2,
        pixels=b"123456",
    )
    return pb.Frame(frame_id=frame_id, sequence=sequence, raw=raw, **fields)


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "spinert"
    return info


class OpenStream:
    """A stream after Opened and the first Credit."""

    def __init__(self, call: Any, opened: pb.Opened) -> None:
        self.call = call
        self.opened = opened
        self.credit = 0

    async def send(self, **message: Any) -> None:
        await self.call.write(pb.StreamRequest(**message))

    async def frame(self, *args: Any, **fields: Any) -> None:
        await self.send(frame=raw_frame(*args, **fields))

    async def answer(self) -> Any:
        """Return the next Result or FrameError; None at the end of the stream."""
        while (reply := await self.call.read()) is not grpc.aio.EOF:
            kind = reply.WhichOneof("message")
            if kind != "credit":
                return getattr(reply, kind)
            self.credit += reply.credit.frames
        return None

    async def rest(self) -> list[Any]:
        await self.call.done_writing()
        found = []
        while (answer := await self.answer()) is not None:
            found.append(answer)
        return found


async def opened(stub: Any, **opening: Any) -> OpenStream:
    call = stub.Stream()
    await call.write(pb.StreamRequest(open=pb.Open(**opening)))
    first = await call.read()
    assert first.WhichOneof("message") == "opened"
    asks = opening.get("resumable") or opening.get("resume_token")
    assert bool(first.opened.resume_token) == bool(asks)
    stream = OpenStream(call, first.opened)
    credit = await call.read()
    stream.credit = credit.credit.frames
    if not opening.get("resume_token"):
        assert stream.credit == first.opened.limits.max_frames_in_flight
    return stream
