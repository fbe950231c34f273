"""A lean closed-loop load: prepared bytes out, replies counted, nothing else."""

from __future__ import annotations

import asyncio
import time

import grpc
import numpy as np

from spinert.proto import inference_pb2 as pb

# Tags of the fields of StreamReply: number << 3 | length-delimited.
_RESULT = pb.StreamReply.RESULT_FIELD_NUMBER << 3 | 2
_FRAME_ERROR = pb.StreamReply.FRAME_ERROR_FIELD_NUMBER << 3 | 2
STREAM = "/spinert.v1.SpineInference/Stream"
OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
]


def raw_frame(rows: int, columns: int, seed: int) -> pb.Frame:
    """Return a 16-bit raw frame of smooth noise: no two are equal."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4096, (rows // 16 + 1, columns // 16 + 1))
    pixels = np.kron(coarse, np.ones((16, 16)))[:rows, :columns].astype("<u2")
    raw = pb.RawImage(
        rows=rows,
        columns=columns,
        bits_stored=12,
        photometric_interpretation=pb.MONOCHROME2,
        pixels=pixels.tobytes(),
    )
    return pb.Frame(frame_id=f"frame-{seed}", raw=raw)


def spinert_messages(frames: list[pb.Frame]) -> list[bytes]:
    return [pb.StreamRequest(frame=f).SerializeToString() for f in frames]


async def stream(
    address: str, method: str, opening: bytes | None, messages: list[bytes], depth: int
) -> tuple[float, list[bytes]]:
    """Send all messages with `depth` in flight; return (seconds, answers).

    Replies to `opening` (Opened and Credit) are read before the clock starts.
    """
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(method)()
        if opening is not None:
            await call.write(opening)
            for _ in range(2):
                await call.read()
        start = time.perf_counter()
        answers = await _closed_loop(call, messages, depth, opening is not None)
        seconds = time.perf_counter() - start
        await call.done_writing()
        return seconds, answers


async def _closed_loop(
    call: grpc.aio.StreamStreamCall, messages: list[bytes], depth: int, credited: bool
) -> list[bytes]:
    answers: list[bytes] = []
    room = asyncio.Semaphore(depth)

    async def write() -> None:
        for message in messages:
            await room.acquire()
            await call.write(message)

    writing = asyncio.create_task(write())
    while len(answers) < len(messages):
        reply = await call.read()
        if credited and not is_answer(reply):
            continue
        answers.append(reply)
        room.release()
    await writing
    return answers


def is_answer(reply: bytes) -> bool:
    """Tell Result from Credit by the first byte: the load must stay cheap."""
    if reply[0] == _FRAME_ERROR:
        error = pb.StreamReply.FromString(reply).frame_error
        raise RuntimeError(f"{error.reason}: {error.message}")
    return reply[0] == _RESULT
