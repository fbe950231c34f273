"""Throughput of the server against the same engine called in-process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench_front import OPENING
from harness import HERE, ratio, spinert_server
from load import STREAM, raw_frame, spinert_messages, stream

DEPTH = 8
# More than in flight: frames in flight need ids of their own.
DISTINCT = 16


def measure(
    bundle: Path,
    work: Path,
    config: str,
    *,
    size: tuple[int, int],
    frames: int,
    rounds: int,
) -> dict[str, Any]:
    """Alternate server and in-process engine on the same raw frames."""
    distinct = [raw_frame(*size, seed) for seed in range(DISTINCT)]
    messages = spinert_messages([distinct[i % DISTINCT] for i in range(frames)])
    in_process: list[float] = []
    served: list[float] = []
    network_ms: list[float] = []
    for _ in range(rounds):
        inner = _in_process(bundle, work, config, size, frames)
        in_process.append(inner["frames_per_s"])
        network_ms.append(inner["network_ms"])
        # A process of its own for each round: neither side keeps what it warmed up.
        with spinert_server(bundle, config, work) as server:
            warm = messages[: min(DEPTH, frames)]
            asyncio.run(_stream(server.address, warm))
            seconds, _ = asyncio.run(_stream(server.address, messages))
        served.append(frames / seconds)
    return {
        "what": f"raw {size[0]} x {size[1]} 16-bit frames, {DEPTH} in flight",
        "server_over_in_process": ratio(served, in_process).as_json(),
        "frames_per_s": {
            "in_process": [round(v, 2) for v in in_process],
            "server": [round(v, 2) for v in served],
        },
        "networks_ms_per_frame": round(sorted(network_ms)[len(network_ms) // 2], 2),
    }


async def _stream(address: str, messages: list[bytes]) -> tuple[float, list[bytes]]:
    return await stream(address, STREAM, OPENING, messages, DEPTH)


def _in_process(
    bundle: Path, work: Path, config: str, size: tuple[int, int], frames: int
) -> dict[str, float]:
    settings = work / "in-process.toml"
    settings.write_text(config)
    command = [sys.executable, str(HERE / "in_process.py"), str(bundle), str(settings)]
    command += [str(size[0]), str(size[1]), str(frames), str(DEPTH)]
    return json.loads(subprocess.check_output(command, text=True))
