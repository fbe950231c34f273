"""A front process as the executor sees it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from spinert.runtime.errors import Reason, SetupError

__all__ = ["FrontSettings", "listening_front"]

_COMMAND = (sys.executable, "-P", "-m", "spinert.runtime.server.relay_front")
_START_S = 30.0
_END_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontSettings:
    """What a front is told when it starts."""

    listen: Sequence[str]
    """Each a HOST:PORT, shared with the others."""
    executor: str
    """Path of the socket that calls are handed to."""
    options: Sequence[tuple[str, int]]
    """Channel arguments of its gRPC server."""


@asynccontextmanager
async def listening_front(
    settings: FrontSettings, command: Sequence[str] = _COMMAND
) -> AsyncIterator[Process]:
    """Start a front, yield it once it listens, and end it.

    Raises:
        SetupError: It does not listen; the message says why.
    """
    told = json.dumps(asdict(settings) | {"parent": os.getpid()})
    try:
        process = await asyncio.create_subprocess_exec(
            *command, told, stdin=PIPE, stdout=PIPE
        )
    except OSError as error:
        raise SetupError(
            Reason.CONFIG_INVALID,
            f"the system starts no front process ({_name(error.errno)}): raise its "
            "limits, or use fewer (server.fronts)",
        ) from None
    try:
        _require_listening(await _first_word(process), settings)
        yield process
    finally:
        await _ended(process)


async def _first_word(process: Process) -> dict[str, Any]:
    """Return what the front says first; {} where that means nothing."""
    line = b""
    try:
        async with asyncio.timeout(_START_S):
            if process.stdout is not None:
                line = await process.stdout.readline()
    except TimeoutError:
        raise SetupError(
            Reason.CONFIG_INVALID,
            f"a front process did not listen within {_START_S:g} s; use fewer "
            "(server.fronts)",
        ) from None
    with suppress(ValueError):
        word = json.loads(line)
        if isinstance(word, dict):
            return word
    return {}


def _require_listening(word: dict[str, Any], settings: FrontSettings) -> None:
    if word.get("listens"):
        return
    if "errno" in word:
        raise SetupError(
            Reason.ADDRESS_IN_USE,
            f"a front process cannot listen on {', '.join(settings.listen)} "
            f"({_name(word['errno'])}): stop what uses it, choose another port, or do "
            "without front processes (server.fronts = 1)",
        )
    raise SetupError(
        Reason.CONFIG_INVALID,
        "a front process ended before it could listen: the log has its error; give it "
        "more memory, or use fewer (server.fronts)",
    )


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, "unknown")


async def _ended(process: Process) -> None:
    """Tell `process` to end, and wait; kill it where there is no time for that."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
