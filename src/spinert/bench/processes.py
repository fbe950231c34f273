"""What a server takes of the machine: processor time and memory of its processes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psutil

__all__ = ["ProcessTree", "new_child"]

_MIB: Final = 2**20
_LONGEST_NAME: Final = 40
_OURS: Final = "spinert.runtime."
"""Processes of a server run modules of it, which tell more than "python"."""


@dataclass(frozen=True, slots=True)
class ProcessTree:
    """A process and all below it."""

    root: psutil.Process

    def cpu_s(self) -> float:
        """Return user and system time so far; children that ended are in it."""
        spent = 0.0
        for process in self.processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                spent += times.user + times.system
        with suppress(psutil.Error):
            times = self.root.cpu_times()
            spent += times.children_user + times.children_system
        return spent

    def memory(self) -> list[dict[str, Any]]:
        """Return resident and proportional memory of each process, in MiB."""
        told = []
        for process in self.processes():
            with suppress(psutil.Error):
                info = process.memory_full_info()
                told.append(
                    {
                        "process": _role(process, self.root),
                        "rss_mib": round(info.rss / _MIB, 1),
                        "pss_mib": round(info.pss / _MIB, 1),
                    }
                )
        return told

    def processes(self) -> list[psutil.Process]:
        """Return the root, which may have ended, and what runs below it."""
        below: list[psutil.Process] = []
        with suppress(psutil.Error):
            below = self.root.children(recursive=True)
        return [self.root, *below]


def new_child(before: Iterable[psutil.Process]) -> psutil.Process | None:
    """Return the oldest child of this process that is not in `before`."""
    known = {process.pid for process in before}
    fresh = [p for p in psutil.Process().children() if p.pid not in known]
    return min(fresh, key=lambda p: p.create_time(), default=None)


def _role(process: psutil.Process, root: psutil.Process) -> str:
    if process.pid == root.pid:
        return "server"
    _, _, module = " ".join(process.cmdline()).partition(f" -m {_OURS}")
    return (module.split(" ")[0] or str(process.name()))[:_LONGEST_NAME]
