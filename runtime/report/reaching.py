"""The server of a command: one that runs, or one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from spinert.runtime.report.local_server import local_server
from spinert.runtime.report.progress import stage_progress

__all__ = ["reached_server"]


@contextmanager
def reached_server(
    server: str | None,
    bundle: Path | None,
    progress: Console,
    config: Path | None = None,
) -> Iterator[str]:
    """Yield the address of a running server, or serve a bundle until the block ends.

    Args:
        server: HOST:PORT; None: serve `bundle`.
        bundle: Used where there is no `server`.
        progress: Shows how far the start of a server of our own is.
        config: Settings (TOML) of a server of our own.

    Raises:
        Unavailable: A server of our own does not start.
    """
    if server is not None:
        yield server
        return
    if bundle is None:
        raise ValueError("give a server or a bundle")
    with ExitStack() as stack:
        with stage_progress(progress) as update:
            fraction = 0.0

            def show(event: dict[str, Any]) -> None:
                stage = event.get("stage") or event.get("event", "")
                nonlocal fraction
                fraction = max(fraction, float(event.get("percent", 0)) / 100)
                update(f"server: {stage}".replace("_", " "), fraction)

            address = stack.enter_context(local_server(bundle, show, config))
        yield address
