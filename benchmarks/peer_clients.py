"""Clients for peers: prepared bytes, asyncio on uvloop, nothing decoded but a check.

One family for all: whatever a protocol lets be prepared is prepared, so that what the
client costs differs as little as protocols allow. It is a part of every figure all the
same: the load runs on the cores that the servers run on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from load import OPTIONS, STREAM, is_answer

_KSERVE = "/inference.GRPCInferenceService/"
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round did."""

    answers: int
    seconds: float
    first: bytes
    """The first answer, to be checked."""


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(number: int, content: bytes) -> bytes:
    tag = varint(number << 3 | _LENGTH_DELIMITED)
    return tag + varint(len(content)) + content


def infer_request(
    model: str, datatype: str, shape: tuple[int, ...], data: bytes
) -> bytes:
    """Return a ModelInferRequest of the Open Inference Protocol.

    By hand: two generated modules with these messages cannot be loaded at once.
    """
    tensor = field(1, b"image") + field(2, datatype.encode())
    tensor += field(3, b"".join(varint(size) for size in shape))
    return field(1, model.encode()) + field(5, tensor) + field(7, data)


def http_request(path: str, body: bytes, content_type: str) -> bytes:
    """Return a POST over a connection that stays open."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def multipart(body: bytes, boundary: str = "frame") -> tuple[bytes, str]:
    """Return a form with one file, and its content type."""
    head = (
        f"--{boundary}\r\nContent-Disposition: form-data; "
        'name="data"; filename="image.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    whole = head.encode() + body + f"\r\n--{boundary}--\r\n".encode()
    return whole, f"multipart/form-data; boundary={boundary}"


async def kserve_unary(
    address: str, message: bytes, seconds: float, depth: int
) -> Round:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.unary_unary(f"{_KSERVE}ModelInfer")
        return await _for(seconds, depth, lambda: call(message))


async def kserve_stream(
    address: str, message: bytes, seconds: float, depth: int
) -> Round:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(f"{_KSERVE}ModelStreamInfer")()
        return await _streamed(call, message, seconds, depth)


async def http(address: str, request: bytes, seconds: float, depth: int) -> Round:
    host, _, port = address.partition(":")
    connections = [
        await asyncio.open_connection(host, int(port), limit=2**20)
        for _ in range(depth)
    ]
    free = list(connections)

    async def ask() -> bytes:
        reader, writer = free.pop()
        writer.write(request)
        answer = await _response(reader)
        free.append((reader, writer))
        return answer

    try:
        return await _for(seconds, depth, ask)
    finally:
        for _, writer in connections:
            writer.close()


async def _response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    if b" 200 " not in status:
        raise RuntimeError(status.decode(errors="replace"))
    lines = fields.lower().split(b"\r\n")
    lengths = [line for line in lines if line.startswith(b"content-length:")]
    if lengths:
        return await reader.readexactly(int(lengths[0].partition(b":")[2]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


async def _for(seconds: float, depth: int, ask: Callable[[], object]) -> Round:
    """Keep `depth` requests going until the time is over."""
    first = await ask()
    start = time.perf_counter()
    until = start + seconds
    answers = 0

    async def worker() -> None:
        nonlocal answers
        while time.perf_counter() < until:
            await ask()
            answers += 1

    await asyncio.gather(*(worker() for _ in range(depth)))
    return Round(answers=answers, seconds=time.perf_counter() - start, first=first)


async def _streamed(
    call: grpc.aio.StreamStreamCall, message: bytes, seconds: float, depth: int
) -> Round:
    await call.write(message)
    first = await call.read()
    start = time.perf_counter()
    until = start + seconds
    room = asyncio.Semaphore(depth)
    sent = answers = 0

    async def write() -> None:
        nonlocal sent
        while time.perf_counter() < until:
            await room.acquire()
            await call.write(message)
            sent += 1
        await call.done_writing()

    writing = asyncio.create_task(write())
    while await call.read() is not grpc.aio.EOF:
        answers += 1
        room.release()
    await writing
    if answers != sent:
        raise RuntimeError(f"{answers} of {sent} requests were answered")
    return Round(answers=answers, seconds=time.perf_counter() - start, first=first)


async def stream_bytes(
    method: str, address: str, message: bytes, seconds: float, depth: int
) -> Round:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(method)()
        return await _streamed(call, message, seconds, depth)


async def spinert_stream(
    address: str, messages: list[bytes], seconds: float, depth: int
) -> Round:
    """Send frames over SpineRT's own stream; `depth` stays within its credit."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(STREAM)()
        await call.write(messages[0])
        for _ in range(2):
            first = await call.read()
        start = time.perf_counter()
        until = start + seconds
        room = asyncio.Semaphore(depth)
        sent = count = 0

        async def write() -> None:
            nonlocal sent
            while time.perf_counter() < until:
                await room.acquire()
                await call.write(messages[1 + sent % (len(messages) - 1)])
                sent += 1
            await call.done_writing()

        writing = asyncio.create_task(write())
        while (reply := await call.read()) is not grpc.aio.EOF:
            if is_answer(reply):
                count += 1
                room.release()
        await writing
    if count != sent:
        raise RuntimeError(f"{count} of {sent} frames were answered")
    return Round(answers=count, seconds=time.perf_counter() - start, first=first)
