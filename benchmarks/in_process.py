"""The engine without a front: a fixed number of frames in flight, frames/s as JSON.

Run as a process of its own by bench_throughput.py:
in_process.py BUNDLE SETTINGS ROWS COLUMNS FRAMES DEPTH
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path

from load import raw_frame

from spinert.runtime.bundle import load_bundle
from spinert.runtime.config import settings_from_toml
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.frame import Answer, FrameRequest, RawFrame
from spinert.runtime.image import Photometric


def main() -> None:
    bundle = load_bundle(Path(sys.argv[1]))
    settings = settings_from_toml(Path(sys.argv[2]))
    rows, columns, frames, depth = (int(word) for word in sys.argv[3:7])
    contents = [raw_content(rows, columns, seed) for seed in range(8)]
    with (
        DecodePool(settings.decode) as pool,
        opened_backend(bundle, settings) as backend,
        Engine(bundle, BackendSwitch(backend), pool, settings) as engine,
    ):
        run(engine, contents, min(depth, frames), depth)
        start = time.perf_counter()
        answers = run(engine, contents, frames, depth)
        seconds = time.perf_counter() - start
    spent = [network_s(answer) for answer in answers]
    result = {
        "frames_per_s": frames / seconds,
        "network_ms": 1000 * statistics.median(spent),
    }
    print(json.dumps(result))


def raw_content(rows: int, columns: int, seed: int) -> RawFrame:
    raw = raw_frame(rows, columns, seed).raw
    return RawFrame(
        rows=rows,
        columns=columns,
        bits_stored=raw.bits_stored,
        is_signed=False,
        photometric=Photometric.MONOCHROME2,
        data=raw.pixels,
    )


def run(
    engine: Engine, contents: list[RawFrame], frames: int, depth: int
) -> list[Answer]:
    waiting: deque[Future[Answer]] = deque()
    answers: list[Answer] = []
    for i in range(frames):
        if len(waiting) == depth:
            answers.append(waiting.popleft().result())
        content = contents[i % len(contents)]
        request = FrameRequest(content=content, arrived_s=time.monotonic())
        waiting.append(engine.submit(request))
    return answers + [future.result() for future in waiting]


def network_s(answer: Answer) -> float:
    """Time of both networks, divided by the batch that shared it."""
    sizes = {batch.network: batch.size for batch in answer.receipt.batches}
    return sum(
        stage.duration_s / sizes[stage.name]
        for stage in answer.receipt.stages
        if stage.name in sizes
    )


if __name__ == "__main__":
    main()
