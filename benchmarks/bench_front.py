"""CPU per frame of the front: SpineRT with a trivial network against a bare echo."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from harness import HERE, Server, ratio, running, spinert_server
from load import STREAM, raw_frame, spinert_messages, stream
from tiny_bundle import write_tiny_bundle

from spinert.proto import inference_pb2 as pb

ROWS, COLUMNS = 549, 548  # 602 KB of 16-bit pixels
DEPTH = 8
CONFIG = """
[backend]
threads = 1
[engine]
max_delay_ms = 0
prepare_threads = 1
[decode]
workers = 1
"""
OPENING = pb.StreamRequest(open=pb.Open(device="bench")).SerializeToString()
METHODS = {"echo": "/floor.Echo/Stream", "front": STREAM, "server": STREAM}


def measure(work: Path, rounds: int = 7, frames: int = 600) -> dict[str, Any]:
    """Alternate between three servers; CPU of each one's processes per frame.

    echo: a bare grpc.aio server that sends the bytes back; front: our front over
    an engine that answers at once; server: all of it, with networks that cost
    nothing but with hashing, grey levels and resizing of every frame.
    """
    distinct = spinert_messages([raw_frame(ROWS, COLUMNS, seed) for seed in range(16)])
    messages = [distinct[i % 16] for i in range(frames)]
    bundle = write_tiny_bundle(work / "trivial", edge=32, channels=1)
    echo = [sys.executable, str(HERE / "echo_server.py")]
    front = [sys.executable, str(HERE / "front_server.py"), str(bundle)]
    cpu_ms: dict[str, list[float]] = {name: [] for name in METHODS}
    rate: dict[str, list[float]] = {name: [] for name in METHODS}
    with (
        running(echo) as floor,
        running(front) as ours,
        spinert_server(bundle, CONFIG, work) as whole,
    ):
        servers = {"echo": floor, "front": ours, "server": whole}
        for name, server in servers.items():
            _round(name, server, messages[:100])
        for _ in range(rounds):
            for name, server in servers.items():
                spent, seconds = _round(name, server, messages)
                cpu_ms[name].append(1000 * spent / frames)
                rate[name].append(frames / seconds)
    return {
        "what": f"raw frames of {len(messages[0])} bytes streamed, {DEPTH} in flight",
        "front_over_echo": ratio(cpu_ms["front"], cpu_ms["echo"]).as_json(),
        "server_over_echo": ratio(cpu_ms["server"], cpu_ms["echo"]).as_json(),
        "cpu_ms_per_frame": {k: [round(v, 3) for v in vs] for k, vs in cpu_ms.items()},
        "frames_per_s": {k: [round(v, 1) for v in vs] for k, vs in rate.items()},
    }


def _round(name: str, server: Server, messages: list[bytes]) -> tuple[float, float]:
    opening = None if name == "echo" else OPENING
    before = server.cpu_s()
    seconds, answers = asyncio.run(
        stream(server.address, METHODS[name], opening, messages, DEPTH)
    )
    if len(answers) != len(messages):
        raise RuntimeError(f"{name} answered {len(answers)} of {len(messages)} frames")
    return server.cpu_s() - before, seconds
