"""Streams against a real front, some over a proxy that can break connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.server.front import Front
from support.fronts import ScriptedEngine, serving_front
from support.proxies import CuttingProxy, cutting_proxy
from support.wires import OpenStream, opened, stub_of


def front_settings(credit: int, **resume: Any) -> ServerSettings:
    return ServerSettings(listen="127.0.0.1:0", max_frames_in_flight=credit, **resume)


@asynccontextmanager
async def streaming(
    engine: Any, credit: int = 8, **opening: Any
) -> AsyncIterator[tuple[Front, OpenStream]]:
    async with (
        serving_front(engine, front_settings(credit)) as front,
        stub_of(front.address) as stub,
    ):
        yield front, await opened(stub, **opening)


def on_stream(
    script: Callable[[OpenStream, Any], Awaitable[Any]],
    engine: Any = None,
    credit: int = 8,
    **opening: Any,
) -> Any:
    """Run `script(stream, engine)` on an open stream."""

    async def main() -> Any:
        used = engine or ScriptedEngine()
        async with streaming(used, credit, **opening) as (_, stream):
            return await script(stream, used)

    return asyncio.run(main())


@asynccontextmanager
async def fronted(
    engine: Any, credit: int = 4, **resume: Any
) -> AsyncIterator[tuple[Front, CuttingProxy, Any]]:
    """Yield a front, a proxy before it, and a stub that goes through the proxy."""
    async with (
        asyncio.timeout(30),  # an answer that never comes must fail a test
        serving_front(engine, front_settings(credit, **resume)) as front,
        cutting_proxy(front.address) as proxy,
        stub_of(proxy.address) as stub,
    ):
        yield front, proxy, stub


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def left(front: Front) -> None:
    """Wait until the server has noticed that the connection is gone."""
    await until(lambda: not front.service.streams.connected)


async def resumed(stub: Any, stream: OpenStream, **opening: Any) -> OpenStream:
    return await opened(stub, resume_token=stream.opened.resume_token, **opening)


async def failure(stub: Any, **opening: Any) -> grpc.aio.AioRpcError:
    """Return the error that opening a stream so ends in."""
    call = stub.Stream()
    await call.write(pb.StreamRequest(open=pb.Open(**opening)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return caught.value


async def sequences(stream: OpenStream, count: int) -> list[int]:
    """Return the numbers of the next `count` answers."""
    return [(await stream.answer()).sequence for _ in range(count)]


def reasons(answers: Iterable[Any]) -> list[str]:
    return [getattr(answer, "reason", "") for answer in answers]


def ids(answers: Iterable[Any]) -> list[str]:
    return [answer.frame_id for answer in answers]


def tasks_in(file: str) -> list[asyncio.Task[Any]]:
    return [
        task
        for task in asyncio.all_tasks()
        if file in str(getattr(task.get_coro(), "cr_code", ""))
    ]
