"""The stages of a frame, as admission looks ahead through them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from spinert.runtime.engine.costs import CostModel, Costs
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.engine.outlook import Outlook
from spinert.runtime.engine.stage_line import Stage
from spinert.runtime.frame import RawFrame

__all__ = ["DECODE", "PREPARE", "Watch", "job_outlook", "learn_costs"]

DECODE: Final = "decode"
"""Files alone, in the decoder."""
PREPARE: Final = "prepare"
"""Every frame but tensors; of raw ones this includes what decoding they need."""

_ROUNDS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Tells admission what a stage works on, one frame at a time, and learns from it.

    Call it when work on a frame begins, and what it returns when that has ended, with
    whether the frame was done: one that failed says nothing about the others.
    """

    name: str
    durations: Durations
    begin: Callable[[str, Sequence[Job]], Callable[[], None]]
    """Of admission."""
    clock: Callable[[], float]

    def __call__(self, job: Job) -> Callable[[bool], None]:
        """Note that work on `job` begins."""
        end, start_s = self.begin(self.name, [job]), self.clock()
        return partial(self._ended, kind_of(job.request), start_s, end)

    def _ended(
        self, kind: str, start_s: float, end: Callable[[], None], is_done: bool
    ) -> None:
        if is_done:
            self.durations.observe(kind, start_s, self.clock())
        end()


def job_outlook(
    networks: Mapping[str, CostModel],
    frame_stages: Mapping[str, Durations],
    max_batch: int,
) -> Outlook[Job]:
    """Return what admission looks at; all that it is given goes on learning.

    Args:
        networks: By role.
        frame_stages: DECODE and PREPARE.
        max_batch: Of the networks.
    """
    stages = {
        role: Stage(costs=partial(_costs_of, model), max_batch=max_batch)
        for role, model in networks.items()
    }
    for name, durations in frame_stages.items():
        stages[name] = Stage(
            costs=durations.costs, kind_of=kind_of, workers=durations.workers
        )
    return Outlook(stages, _groups_of)


def learn_costs(
    run: Callable[[int], object],
    max_batch: int,
    budget_s: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run batches of 1, 2, 4 ... frames, so that their costs are known.

    The first one always; each further one while it is likely to end within
    `budget_s`. A frame alone comes twice at first, because the first run of all takes
    longer, which must not be taken for a gain of the batch after it; all of them come
    more than once where there is time.

    Args:
        run: Runs a batch of so many frames, and observes what it costs.
        max_batch: The largest.
        budget_s: Time for all of it.
        clock: In seconds.
    """
    began_s = clock()
    last_s: dict[int, float] = {}
    for batch in (1, *_doubling(max_batch) * _ROUNDS):
        start_s = clock()
        likely_s = last_s.get(batch, last_s.get(batch // 2, 0.0) * 2)
        if last_s and start_s + likely_s > began_s + budget_s:
            return
        run(batch)
        last_s[batch] = clock() - start_s


def _costs_of(model: CostModel, _: str) -> Costs:
    return model.costs


def _doubling(largest: int) -> list[int]:
    """Return 1, 2, 4 ... and `largest`."""
    powers = [2**n for n in range(largest.bit_length()) if 2**n < largest]
    return [*powers, largest]


def _groups_of(job: Job) -> Sequence[Sequence[str]]:
    networks = (job.roles,) if job.roles else ()
    if job.prepared is not None:
        return networks
    if isinstance(job.request.content, RawFrame):
        return ((PREPARE,), *networks)
    return ((DECODE,), (PREPARE,), *networks)
