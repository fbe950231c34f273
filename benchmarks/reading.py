"""Reading a frame out of shared memory, without a server: by one thread and by two."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from harness import ratio

from spinert.runtime.server.region_objects import SharedObject
from spinert.runtime.server.span_reader import SpanReader

READERS = {"one": 1, "two": 2}
"""Cores that each reader believes in; with one it has no helper."""


def read_alternately(directory: str, name: str, n_bytes: int, rounds: int) -> Any:
    """Return times and CPU of each read in ms, and the ratios of two to one."""
    took: dict[str, list[float]] = {reader: [] for reader in READERS}
    cpu: dict[str, list[float]] = {reader: [] for reader in READERS}
    source = SharedObject(directory, name)
    with ExitStack() as stack:
        stack.callback(source.close)
        readers = {name: SpanReader(cores) for name, cores in READERS.items()}
        for reader in readers.values():
            stack.callback(reader.close)
            # Memory and helper are there from now on.
            reader.copied(source, 0, n_bytes)
        for _ in range(rounds):
            for name, reader in readers.items():
                start_s, cpu_s = time.perf_counter(), time.process_time()
                reader.copied(source, 0, n_bytes)
                took[name].append(1000 * (time.perf_counter() - start_s))
                cpu[name].append(1000 * (time.process_time() - cpu_s))
    return {
        "ms": {name: [round(v, 3) for v in values] for name, values in took.items()},
        "two_over_one_ms": ratio(took["two"], took["one"]).as_json(),
        "two_over_one_cpu_ms": ratio(cpu["two"], cpu["one"]).as_json(),
    }
