"""One frame on its way through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.decide.verdict_from import Evidence
from spinert.runtime.engine.outputs import FrameOutput
from spinert.runtime.engine.prepare import Prepared
from spinert.runtime.errors import SpinertError
from spinert.runtime.frame import FrameRequest
from spinert.runtime.image import Image
from spinert.runtime.verdict import BatchRecord, NetworkRun, Receipt, Stage

__all__ = ["Job"]


@dataclass(eq=False, kw_only=True, slots=True, weakref_slot=True)
class Job:
    """A frame's request, what is known of it so far, and its future.

    Owned by one thread at a time until it is prepared; from then on the lanes of
    its networks meet in `deliver`, and whoever delivers last finishes it. `settle`
    and `fail` may come from any thread at any time: the first one wins.
    """

    request: FrameRequest
    roles: tuple[str, ...]
    """Networks that have to run."""
    future: Future[Any] = field(default_factory=Future)
    """Of an Answer, or of the TensorAnswer that a TensorFrame becomes."""
    image: Image | None = None
    """Decoded; dropped once it is prepared."""
    prepared: Prepared | None = None
    input_sha256: str = ""
    study_uid: str = ""
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _outputs: dict[str, FrameOutput] = field(init=False, default_factory=dict)
    _stages: list[Stage] = field(init=False, default_factory=list)
    _batches: list[BatchRecord] = field(init=False, default_factory=list)
    _runs: list[NetworkRun] = field(init=False, default_factory=list)
    _leaving: list[Callable[[], object]] = field(init=False, default_factory=list)
    _on_drop: Callable[[], object] | None = field(init=False, default=None)
    _settled: bool = field(init=False, default=False)

    @property
    def is_awaited(self) -> bool:
        """Somebody waits for the answer."""
        with self._lock:
            return not (self._settled or self.future.done())

    def record(self, name: str, start_s: float, end_s: float) -> None:
        """Note a stage by its times on the clock of `request.arrived_s`."""
        stage = Stage(
            name=name,
            start_s=start_s - self.request.arrived_s,
            duration_s=end_s - start_s,
        )
        with self._lock:
            self._stages.append(stage)

    def spent_s(self, *names: str) -> float:
        """Return the time in these stages so far."""
        with self._lock:
            return sum(s.duration_s for s in self._stages if s.name in names)

    def keep_image(self, image: Image, on_drop: Callable[[], object]) -> None:
        """Keep `image` until prepared or the frame leaves, then call `on_drop`."""
        self.image, self._on_drop = image, on_drop
        self.when_leaving(self.drop_image)

    def drop_image(self) -> None:
        """Let go of the decoded image; later calls are harmless."""
        with self._lock:
            self.image = None
            on_drop, self._on_drop = self._on_drop, None
        if on_drop is not None:
            on_drop()

    def deliver(self, output: FrameOutput, batch: BatchRecord, run: NetworkRun) -> bool:
        """Add what the network of `batch` says; True for the last one missing."""
        with self._lock:
            self._outputs[batch.network] = output
            self._batches.append(batch)
            self._runs.append(run)
            return len(self._outputs) == len(self.roles)

    def output(self, role: str) -> FrameOutput:
        """Return what network `role` said; call it once delivered."""
        return self._outputs[role]

    def evidence(self) -> Evidence:
        """Return all that is known; call it once prepared and delivered."""
        if self.prepared is None:
            raise ValueError("the frame is not prepared")
        logits, candidates, scales = None, None, (1.0, 1.0)
        for role, output in self._outputs.items():
            if isinstance(output, Candidates):
                candidates = output
                placement = self.prepared.input_of(role).placement
                scales = (placement.rows_per_pixel, placement.columns_per_pixel)
            else:
                logits = output.tolist()
        return Evidence(
            rows=self.prepared.rows,
            columns=self.prepared.columns,
            spacing=self.prepared.spacing,
            notes=self.prepared.notes,
            logits=logits,
            candidates=candidates,
            rows_per_pixel=scales[0],
            columns_per_pixel=scales[1],
        )

    def receipt(self, now_s: float) -> Receipt:
        """Return the stages in order of their start, and the batches."""
        with self._lock:
            return Receipt(
                stages=tuple(sorted(self._stages, key=lambda stage: stage.start_s)),
                batches=tuple(sorted(self._batches, key=lambda b: b.network)),
                total_s=now_s - self.request.arrived_s,
            )

    def runs(self) -> tuple[NetworkRun, ...]:
        """Return what ran each network, in alphabetical order."""
        with self._lock:
            return tuple(sorted(self._runs, key=lambda run: run.network))

    def when_leaving(self, action: Callable[[], object]) -> None:
        """Call `action` once the frame is answered or withdrawn, or now if it is."""
        with self._lock:
            if not self.future.done():
                self._leaving.append(action)
                return
        action()

    def leave(self) -> None:
        """Run the leaving actions; the future's first callback calls this."""
        if self.future.cancelled():
            self._claim()
        with self._lock:
            actions, self._leaving = self._leaving, []
        for action in actions:
            action()

    def settle(self, answer: object) -> None:
        """Answer, unless that was done or the frame was withdrawn."""
        if self._claim():
            self.future.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless that was done or the frame was withdrawn.

        A typed error forgets where it was raised: those stack frames hold the job,
        and whoever keeps the answer would keep its payload. A bug stays traceable.
        """
        if isinstance(error, SpinertError):
            error.__traceback__ = error.__cause__ = error.__context__ = None
        if self._claim():
            self.future.set_exception(error)

    def _claim(self) -> bool:
        with self._lock:
            if self._settled:
                return False
            self._settled = True
        # False when the client cancelled a moment ago.
        return self.future.set_running_or_notify_cancel()
