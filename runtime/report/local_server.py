"""A server of our own, for the length of one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinert.runtime.errors import Reason, Unavailable

__all__ = ["local_server"]

Event = dict[str, Any]

_STOP_S = 10.0
"""For frames in flight when a command is broken off; then the server is killed."""


@contextmanager
def local_server(
    bundle: Path, on_event: Callable[[Event], None], config: Path | None = None
) -> Iterator[str]:
    """Run `spinert serve` on a free loopback port; yield its address once ready.

    Args:
        bundle: What to serve.
        on_event: Called with every log record of the start-up, as logged.
        config: Settings (TOML); None: the defaults.

    Raises:
        Unavailable: The server ended before it was ready.
    """
    command = [sys.executable, "-m", "spinert", "serve", "--bundle", str(bundle)]
    if config is not None:
        command += ["--config", str(config)]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--parent", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    reader: threading.Thread | None = None
    try:
        address = _address_when_ready(process, on_event)
        # Whoever stops reading a pipe stops the writer when it is full.
        reader = threading.Thread(target=_read_all, args=(process.stderr,), daemon=True)
        reader.start()
        yield address
    finally:
        _end(process)
        if reader is not None:
            reader.join()
        if process.stderr is not None:
            process.stderr.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _address_when_ready(
    process: subprocess.Popen[str], on_event: Callable[[Event], None]
) -> str:
    last: deque[str] = deque(maxlen=5)
    for line in process.stderr or ():
        event = _event_from_line(line)
        if event is None:
            last.append(line.strip().removeprefix("error: "))
            continue
        on_event(event)
        if event.get("event") == "ready":
            return str(event["address"])
    raise Unavailable(
        Reason.NOT_READY, "the server could not start: " + " | ".join(last)
    )


def _event_from_line(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def _read_all(lines: Iterable[str] | None) -> None:
    for _ in lines or ():
        continue
