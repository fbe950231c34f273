"""What it takes to bring a frame into the server: sockets, shared memory, a floor.

Two floors, both bare grpc.aio servers with generic handlers: `echo` sends the bytes
back, `sink` only takes them. The front stands over an engine that answers at once;
a frame in shared memory is fetched by a thread first, as the real engine does; its
floor is the echo of the message that tells of it. With two front processes, what the
first process takes is what limits the server.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import grpc
import psutil
from harness import HERE, Server, machine, ratio, running, write_json
from load import OPTIONS, is_answer, raw_frame
from reading import read_alternately
from tiny_bundle import write_tiny_bundle

from spinert.proto import inference_pb2 as pb

LARGE = (2500, 3000)
"""Rows and columns of 16-bit pixels: 15 MB."""
SMALL = (549, 548)
"""602 KB."""
READY = r'"event": ?"ready".*"address": ?"([^"]+)"'
STREAM = "/spinert.v1.SpineInference/Stream"
REGISTER = "/spinert.v1.SpineInference/RegisterRegion"
REGION = "spinert-bench-transport"
SHM = Path("/dev/shm") / REGION


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way for a frame to go."""

    server: str
    method: str
    messages: tuple[bytes, ...]
    depth: int = 1
    opening: bytes | None = None
    before_send: Callable[[], None] | None = None
    """What the device does for each frame, inside its latency."""


@dataclass
class Found:
    """What the rounds of one way gave."""

    cpu_ms: list[float] = field(default_factory=list)
    first_process_cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    frames_per_s: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, list[float]]:
        return {name: [round(v, 3) for v in vs] for name, vs in vars(self).items()}


async def drive(address: str, way: Way, frames: int) -> list[float]:
    """Send frames with `way.depth` in flight; return each one's latency in ms."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(way.method)()
        if way.opening is not None:
            await call.write(way.opening)
            for _ in range(2):  # Opened, Credit
                await call.read()
        sent: list[float] = []
        latencies: list[float] = []
        room = asyncio.Semaphore(way.depth)

        async def write() -> None:
            for i in range(frames):
                await room.acquire()
                sent.append(time.perf_counter())
                if way.before_send is not None:
                    way.before_send()
                await call.write(way.messages[i % len(way.messages)])

        writing = asyncio.create_task(write())
        while len(latencies) < frames:
            reply = await call.read()
            if way.opening is not None and not is_answer(reply):
                continue
            latencies.append(1000 * (time.perf_counter() - sent[len(latencies)]))
            room.release()
        await writing
        await call.done_writing()
        return latencies


def one_round(server: Server, way: Way, frames: int, found: Found) -> None:
    first = psutil.Process(server.process.pid)
    before_s, start_s = server.cpu_s(), time.perf_counter()
    alone_s = sum(first.cpu_times()[:2])
    latencies = asyncio.run(drive(server.address, way, frames))
    elapsed_s = time.perf_counter() - start_s
    found.cpu_ms.append(1000 * (server.cpu_s() - before_s) / frames)
    alone_s = sum(first.cpu_times()[:2]) - alone_s
    found.first_process_cpu_ms.append(1000 * alone_s / frames)
    found.p50_ms.append(median(latencies))
    found.p99_ms.append(quantiles(latencies, n=100)[98])
    found.frames_per_s.append(frames / elapsed_s)


def alternate(
    servers: dict[str, Server], ways: dict[str, Way], rounds: int, frames: int
) -> dict[str, Found]:
    """Run every way once a round, so that neighbours meet the same noise."""
    found = {name: Found() for name in ways}
    for way in ways.values():
        one_round(servers[way.server], way, max(8, frames // 8), Found())
    for _ in range(rounds):
        for name, way in ways.items():
            one_round(servers[way.server], way, frames, found[name])
    return found


def socket_ways(size: tuple[int, int], depth: int) -> dict[str, Way]:
    messages = tuple(
        pb.StreamRequest(frame=raw_frame(*size, seed)).SerializeToString()
        for seed in range(4 * depth)
    )
    opening = pb.StreamRequest(open=pb.Open(device="bench")).SerializeToString()
    bare = {"messages": messages, "depth": depth}
    ours = {**bare, "method": STREAM, "opening": opening}
    return {
        "echo": Way(server="floor", method="/floor.Echo/Stream", **bare),
        "sink": Way(server="floor", method="/floor.Echo/Sink", **bare),
        "tcp": Way(server="tcp", **ours),
        "unix": Way(server="unix", **ours),
        "fronts": Way(server="fronts", **ours),
    }


def shared_ways(memory: mmap.mmap, content: bytes) -> dict[str, Way]:
    messages = tuple(_shared_message(f"frame-{i}", len(content)) for i in range(4))
    opening = pb.StreamRequest(open=pb.Open(device="bench")).SerializeToString()
    ours = {"method": STREAM, "opening": opening, "messages": messages}

    def fill() -> None:
        memory[: len(content)] = content

    return {
        "shared_floor": Way(
            server="floor", method="/floor.Echo/Stream", messages=messages
        ),
        "shared": Way(server="tcp", **ours),
        "shared_unix": Way(server="unix", **ours),
        "shared_copied_in": Way(server="tcp", before_send=fill, **ours),
    }


def _shared_message(frame_id: str, n_bytes: int) -> bytes:
    rows, columns = LARGE
    raw = pb.RawImage(
        rows=rows,
        columns=columns,
        bits_stored=12,
        photometric_interpretation=pb.MONOCHROME2,
    )
    shared = pb.SharedBytes(region=REGION, length=n_bytes)
    frame = pb.Frame(frame_id=frame_id, raw=raw, shared=shared)
    return pb.StreamRequest(frame=frame).SerializeToString()


@contextmanager
def shared_object(content: bytes) -> Iterator[mmap.mmap]:
    """Create the object that the ways of shared memory read."""
    SHM.unlink(missing_ok=True)
    descriptor = os.open(SHM, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, len(content))
        memory = mmap.mmap(descriptor, len(content))
        memory[:] = content
        yield memory
    finally:
        os.close(descriptor)
        SHM.unlink()


async def register(address: str, length: int) -> None:
    request = pb.RegisterRegionRequest(region=REGION, key=f"/{REGION}", length=length)
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.unary_unary(REGISTER)(request.SerializeToString())


@contextmanager
def all_servers(work: Path) -> Iterator[dict[str, Server]]:
    """Run the floor, and the front on a port, a Unix socket and as two processes."""
    bundle = write_tiny_bundle(work / "trivial", edge=32, channels=1)
    floor = [sys.executable, str(HERE / "echo_server.py")]
    front = [sys.executable, str(HERE / "front_server.py"), str(bundle)]
    with ExitStack() as stack:
        commands = {
            "floor": floor,
            "tcp": [*front, "127.0.0.1:0"],
            "unix": [*front, f"unix:{work}/front.sock"],
            "fronts": [*front, "127.0.0.1:0", "2"],
        }
        yield {
            name: stack.enter_context(running(command, READY))
            for name, command in commands.items()
        }


def measure(work: Path, rounds: int = 7, frames: int = 60) -> dict[str, Any]:
    """Return figures and ratios; CPU is of the server's processes, per frame."""
    content = raw_frame(*LARGE, 0).raw.pixels
    with shared_object(content) as memory, all_servers(work) as servers:
        for name in ("tcp", "unix"):
            asyncio.run(register(servers[name].address, len(content)))
        large_ways = socket_ways(LARGE, 1) | shared_ways(memory, content)
        large = alternate(servers, large_ways, rounds, frames)
        read = read_alternately(str(SHM.parent), SHM.name, len(content), 8 * rounds)
        small = alternate(servers, socket_ways(SMALL, 8), rounds, frames * 10)
    return {
        "what": f"raw frames of {len(content)} bytes, one at a time, and of "
        f"{2 * SMALL[0] * SMALL[1]} bytes, 8 in flight; one stream",
        "large": {name: found.as_json() for name, found in large.items()},
        "small": {name: found.as_json() for name, found in small.items()},
        "read": read,
        "ratios": {**_ratios("large", large), **_ratios("small", small)},
    }


def _ratios(size: str, found: dict[str, Found]) -> dict[str, Any]:
    tcp, ratios = found["tcp"], {}
    for floor in ("echo", "sink"):
        for what in ("p50_ms", "cpu_ms"):
            theirs = getattr(found[floor], what)
            ratios[f"{size}_tcp_over_{floor}_{what}"] = ratio(
                getattr(tcp, what), theirs
            ).as_json()
    for what in ("cpu_ms", "first_process_cpu_ms"):
        ratios[f"{size}_fronts_over_tcp_{what}"] = ratio(
            getattr(found["fronts"], what), getattr(tcp, what)
        ).as_json()
    for name in ("unix", "fronts", "shared", "shared_unix", "shared_copied_in"):
        if name in found:
            ratios[f"{size}_{name}_over_tcp_p50_ms"] = ratio(
                found[name].p50_ms, tcp.p50_ms
            ).as_json()
    return ratios


def main() -> None:
    import tempfile

    from rich.console import Console
    from rich.table import Table

    arguments = sys.argv[1:]
    rounds, frames = (int(arguments[0]), int(arguments[1])) if arguments else (7, 60)
    with tempfile.TemporaryDirectory() as work:
        found = measure(Path(work), rounds, frames)
    console = Console()
    for size in ("large", "small"):
        table = Table(
            "way", "CPU ms", "first process", "p50 ms", "p99 ms", "frames/s", title=size
        )
        for name, values in found[size].items():
            table.add_row(name, *(f"{median(v):.2f}" for v in values.values()))
        console.print(table)
    for name, values in found["read"]["ms"].items():
        console.print(f"read by {name}: {median(values):.2f} ms")
    of_reading = {f"read_{n}": r for n, r in found["read"].items() if n != "ms"}
    for name, value in (found["ratios"] | of_reading).items():
        console.print(f"{name}: {value['median']} ({value['min']}-{value['max']})")
    if len(arguments) == 3:
        write_json(Path(arguments[2]), {"machine": machine(), "transport": found})


if __name__ == "__main__":
    main()
