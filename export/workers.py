"""A network made in a process of its own, beside the one that this process makes."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from spinert.export.architectures import ARCHITECTURES
from spinert.export.cache_key import key_from_export
from spinert.export.errors import CheckpointError, ExportError, WorkerError
from spinert.export.making import (
    ExportPlan,
    NetworkMaking,
    Report,
    export_plan,
    torch_threads,
)
from spinert.export.recipe import Recipe
from spinert.proto import bundle_pb2 as pb

__all__ = ["NetworkWorker", "WorkOrder", "plan_key"]

_GRACE_S: Final = 5.0
"""A process that was told to end has this long before it is killed."""


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """What a process has to make; it reads the files of the recipe itself."""

    recipe: Recipe
    role: str
    folder: Path
    """Where the network's files go."""
    key: str
    """From `plan_key`, of the files as this process read them."""
    threads: int
    """Of PyTorch."""


@dataclass(frozen=True)
class _Step:
    text: str
    fraction: float


@dataclass(frozen=True)
class _Made:
    fragment: bytes


@dataclass(frozen=True)
class _Failed:
    error: Exception


def plan_key(plan: ExportPlan, role: str) -> str:
    """Return the hash of everything that decides a network of a plan."""
    return key_from_export(plan.recipe, plan.opened, plan.bundle, role)


class NetworkWorker:
    """A process that makes one network. `end` it, whatever happens."""

    def __init__(self, order: WorkOrder, report: Report) -> None:
        """Start the process.

        Args:
            order: What it makes, of the networks in `ARCHITECTURES`.
            report: Called in this process and thread, by `follow` and `made` alone.
        """
        self._role, self._report = order.role, report
        # Not forked: PyTorch's threads would not survive it.
        context = multiprocessing.get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(order, sender), name=f"export {order.role}", daemon=True
        )
        self._fragment: pb.Bundle | None = None
        try:
            with sender, _without_interrupts():
                self._process.start()
        except BaseException:
            self.end()
            raise

    def follow(self) -> None:
        """Report what the process has told since, without waiting for it.

        Raises:
            ExportError: Whatever it failed with.
            OSError: It could not write.
        """
        while self._fragment is None and self._receiver.poll():
            self._receive()

    def made(self) -> pb.Bundle:
        """Wait for the process; return what its network adds to the bundle.

        Raises:
            ExportError: Whatever it failed with.
            OSError: It could not write.
        """
        while self._fragment is None:
            self._receive()
        return self._fragment

    def end(self) -> None:
        """Stop the process, if it still runs, and wait until it is gone."""
        if self._process.pid is not None:
            self._process.terminate()
            self._process.join(_GRACE_S)
            self._process.kill()
            self._process.join()
        self._receiver.close()

    def _receive(self) -> None:
        try:
            told = self._receiver.recv()
        except (EOFError, OSError):
            raise self._crash() from None
        match told:
            case _Step(text, fraction):
                self._report(text, fraction)
            case _Made(fragment):
                self._fragment = pb.Bundle.FromString(fragment)
            case _Failed(error):
                raise error

    def _crash(self) -> WorkerError:
        self._process.join(_GRACE_S)
        code = self._process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"by {signal.Signals(-code).name}"
        return WorkerError(
            f"the process that made the {self._role} was ended {how}, perhaps for want "
            "of memory; free some and export again"
        )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes start that Ctrl-C does not reach; this one gets it afterwards.

    It goes to all processes of a terminal, and a new one inherits what is blocked:
    the one that waits for the others ends them in order.
    """
    # Started with the first process, it would take the block off before that starts.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(order: WorkOrder, sender: Connection) -> None:
    """Make the network of an order; the process ends with it."""
    told: _Made | _Failed
    try:
        told = _Made(_fragment(order, sender).SerializeToString())
    except BrokenPipeError:
        sys.exit(1)
    except (ExportError, OSError, ImportError) as error:
        told = _Failed(error)
    sender.send(told)


def _fragment(order: WorkOrder, sender: Connection) -> pb.Bundle:
    def report(text: str, fraction: float) -> None:
        sender.send(_Step(text, fraction))

    making = _making(order, report)
    with torch_threads(order.threads):
        making.make_single()
        making.make_half()
    return making.made()


def _making(order: WorkOrder, report: Report) -> NetworkMaking:
    """Read the files; the making alone holds what they contain."""
    plan = export_plan(order.recipe, ARCHITECTURES)
    if plan_key(plan, order.role) != order.key:
        message = "a file of the recipe was changed during the export; export again"
        raise CheckpointError(f"{order.role}: {message}")
    return NetworkMaking(plan, order.role, order.folder, report)
