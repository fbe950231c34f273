"""How far a build is, from the phases TensorRT tells of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["PhaseTree", "progress_monitor"]


@dataclass(kw_only=True, slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """Phases within phases, each of a known number of steps.

    Names are unique among the phases that run (IProgressMonitor, NvInfer.h); one that
    has finished may come again, so the fraction is kept from falling.
    """

    def __init__(self) -> None:
        """Start with no phase."""
        self._phases: dict[str, _Phase] = {}
        self._reached = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Enter phase `name` within `parent`; None: it stands alone."""
        self._phases[name] = _Phase(parent=parent, steps=max(1, steps))

    def step(self, name: str, index: int) -> None:
        """Note that step `index`, from 0, of a phase is done."""
        if phase := self._phases.get(name):
            phase.done = min(max(phase.done, index + 1), phase.steps)

    def finish(self, name: str) -> None:
        """Leave a phase, perhaps before its last step."""
        self._phases.pop(name, None)

    def fraction(self) -> float:
        """Return how much of everything is done, 0 to 1; it never falls."""
        roots = [n for n, p in self._phases.items() if p.parent not in self._phases]
        now = max((self._of(name) for name in roots), default=0.0)
        self._reached = max(self._reached, now)
        return self._reached

    def _of(self, name: str) -> float:
        phase = self._phases[name]
        inner = (n for n, p in self._phases.items() if p.parent == name)
        within = max((self._of(child) for child in inner), default=0.0)
        return min(1.0, (phase.done + within) / phase.steps)


def progress_monitor(api: Any, progress: Callable[[float], None]) -> Any:
    """Return an IProgressMonitor that passes fractions on to `progress`.

    TensorRT may call it from several threads. An exception must not pass through its
    C++ frames: what `progress` raises ends the build, and stands in the attribute
    `failure` of the monitor, to be raised by whoever started it.

    Args:
        api: The module `tensorrt` or `tensorrt_rtx`.
        progress: Called with the fraction done, 0 to 1.
    """

    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self._tree = PhaseTree()
            self._lock = threading.Lock()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            with self._lock:
                self._tree.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            with self._lock:
                self._tree.step(name, step)
                return self._tell()

        def phase_finish(self, name: str) -> None:
            with self._lock:
                self._tree.finish(name)

        def _tell(self) -> bool:
            if self.failure is None:
                try:
                    progress(self._tree.fraction())
                except BaseException as error:
                    # KeyboardInterrupt too: it arrives here in the main thread.
                    self.failure = error
            return self.failure is None

    return Monitor()
