"""A discrete-event simulation of the scheduler: its own code, a clock that jumps.

Admission, the outlook, the waiting lines and what learns costs are those of the engine.
What is made up is the time that preparing and batches take.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator

import numpy as np

from spinert.runtime.engine.batching import Release, WaitUntil
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.engine.stages import PREPARE
from spinert.runtime.engine.ticket import Ticket
from spinert.runtime.errors import RefusedNow
from spinert.runtime.frame import EncodedFrame, FrameRequest, Priority
from spinert.simulator.arrivals import Traffic, traffic_from_scenario
from spinert.simulator.flight import Batch, Frame, Prepared
from spinert.simulator.outcome import Outcome, Tally, outcome_from_tally
from spinert.simulator.parts import (
    accelerators_from_scenario,
    admission_from_parts,
    preparation_from_scenario,
)
from spinert.simulator.routing import first_free
from spinert.simulator.scenario import SIZES, Scenario

__all__ = ["simulated"]

_UNCOUNTED = 0.1
"""Part of the duration in which the queues fill."""
_STALLS_AT = 1 / 3
"""Part of the duration after which a batch is held up."""
_NEVER_S = 1e6
"""Without prediction the fewest frames decide, whatever they cost."""
_CONTENT = EncodedFrame(data=b"")


def simulated(scenario: Scenario) -> Outcome:
    """Run a scenario from the first frame to the last answer."""
    world = _World(scenario)
    world.run()
    counted_s = scenario.duration_s * (1 - _UNCOUNTED)
    return outcome_from_tally(world.tally, scenario, counted_s)


class _World:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = np.random.default_rng(scenario.seed)
        self._traffic = traffic_from_scenario(scenario, self._random)
        self.tally = Tally(devices=scenario.devices)
        self._now_s = 0.0
        self._events: list[tuple[float, int, int, object]] = []
        self._order = itertools.count()
        self._noise: Iterator[float] = iter(())
        self._stall_s = scenario.stall_s
        self._accelerators = accelerators_from_scenario(scenario)
        self._preparation = preparation_from_scenario(scenario)
        self._free_at_s = [0.0] * scenario.accelerators
        self._admission = admission_from_parts(
            scenario, self._accelerators, self._preparation, lambda: self._now_s
        )

    def run(self) -> None:
        arrivals = _arrivals(self._traffic)
        next_arrival = next(arrivals, None)
        while next_arrival is not None or self._events:
            if next_arrival is not None and (
                not self._events or next_arrival[0] <= self._events[0][0]
            ):
                self._now_s = next_arrival[0]
                self._arrive(*next_arrival)
                next_arrival = next(arrivals, None)
            else:
                self._now_s, _, number, what = heapq.heappop(self._events)
                self._happen(number, what)

    # ------------------------------------------------------------------- events

    def _arrive(
        self, at_s: float, device: int, size: int, is_stat: bool, deadline_s: float
    ) -> None:
        is_counted = at_s >= _UNCOUNTED * self._scenario.duration_s
        number = first_free(self._free_at_s, at_s)
        frame = Frame(
            request=FrameRequest(
                content=_CONTENT,
                arrived_s=at_s,
                deadline_s=at_s + deadline_s if deadline_s < math.inf else None,
                device=str(device),
                priority=Priority.STAT if is_stat else Priority.ROUTINE,
            ),
            device=device,
            size=SIZES[size][0],
            accelerator=number,
            is_counted=is_counted,
        )
        self.tally.offered[device] += is_counted
        try:
            self._admission.admit(frame)
        except RefusedNow as error:
            self.tally.refused[error.reason] += is_counted
            return
        frame.is_in = True
        self._accelerators[number].to_come += 1
        deadline_at_s = frame.request.deadline_s
        if deadline_at_s is not None:
            self._at(deadline_at_s, number, frame)
        if self._scenario.prepare_s:
            self._preparation.queue.put(frame, self._ticket(frame, (0, 0)))
            self._prepare()
            self._renew(number)
        else:
            self._prepared(frame)

    def _prepared(self, frame: Frame) -> None:
        number = frame.accelerator
        self._accelerators[number].queue.put(frame, self._ticket(frame, frame.size))
        self._pump(number)

    def _ticket(self, frame: Frame, size: tuple[int, int]) -> Ticket:
        request = frame.request
        return Ticket(
            order=next(self._order),
            size=size,
            queued_s=self._now_s,
            device=request.device,
            priority=request.priority,
            deadline_s=math.inf if request.deadline_s is None else request.deadline_s,
        )

    def _happen(self, number: int, what: object) -> None:
        accelerator = self._accelerators[number]
        if isinstance(what, Frame):
            if what.is_in:
                self._expire(what)
        elif isinstance(what, Batch):
            self._end(number, what)
        elif isinstance(what, Prepared):
            self._end_preparing(what)
        elif accelerator.wakes_s <= self._now_s:
            accelerator.wakes_s = math.inf
            self._pump(number)

    def _expire(self, frame: Frame) -> None:
        """Answer a frame at its deadline, wherever it is."""
        if frame.waits_in is not None:
            frame.waits_in.withdraw(frame)
        self._leave(frame, is_late=True)

    def _end(self, number: int, batch: Batch) -> None:
        accelerator = self._accelerators[number]
        accelerator.is_busy = False
        batch.ended()
        accelerator.model.observe(
            batch.size, len(batch.frames), start_s=batch.start_s, end_s=self._now_s
        )
        for frame in batch.frames:
            if frame.is_in:
                self._leave(frame, is_late=False)
        self._pump(number)

    def _leave(self, frame: Frame, *, is_late: bool) -> None:
        frame.is_in = False
        if is_late:
            self._admission.missed(frame)
        self._admission.leave(frame)
        if not frame.has_begun:
            self._accelerators[frame.accelerator].to_come -= 1
        self._renew(frame.accelerator)
        if not frame.is_counted:
            return
        request, tally = frame.request, self.tally
        took_s = self._now_s - request.arrived_s
        tally.late += is_late
        if not is_late:
            tally.latencies_s.append(took_s)
            tally.in_time[frame.device] += 1
        if request.deadline_s is not None:
            # A frame that is given up early has missed its deadline all the same.
            part = took_s / (request.deadline_s - request.arrived_s)
            tally.used.append(max(part, 1.01) if is_late else part)

    # ---------------------------------------------------------------- preparing

    def _prepare(self) -> None:
        """Give the workers that are free what comes next."""
        stage = self._preparation
        while stage.busy < stage.durations.workers:
            step = stage.queue.line.take(self._now_s)
            if not isinstance(step, Release):
                return
            [frame] = stage.queue.taken(step.tickets)
            stage.busy += 1
            ended = self._admission.begin(PREPARE, [frame])
            prepared = Prepared(frame=frame, start_s=self._now_s, ended=ended)
            took_s = self._scenario.prepare_s * self._factor()
            self._at(self._now_s + took_s, frame.accelerator, prepared)

    def _end_preparing(self, prepared: Prepared) -> None:
        stage, frame = self._preparation, prepared.frame
        stage.busy -= 1
        stage.durations.observe(kind_of(frame.request), prepared.start_s, self._now_s)
        prepared.ended()
        self._prepare()
        if frame.is_in:
            self._prepared(frame)

    # ----------------------------------------------------------------- batching

    def _pump(self, number: int) -> None:
        """Let an accelerator that is free do what comes next."""
        accelerator = self._accelerators[number]
        if accelerator.is_busy:
            self._renew(number)
            return
        costs, now_s = accelerator.costs(), self._now_s
        queue = accelerator.queue
        for frame in queue.taken(queue.line.take_doomed(now_s, costs)):
            self._leave(frame, is_late=True)
        step = queue.line.take(now_s, costs)
        if isinstance(step, Release):
            self._start(number, step)
        elif isinstance(step, WaitUntil) and step.time_s < accelerator.wakes_s:
            accelerator.wakes_s = step.time_s
            self._at(step.time_s, number, None)
        self._renew(number)

    def _start(self, number: int, step: Release) -> None:
        accelerator = self._accelerators[number]
        frames = accelerator.queue.taken(step.tickets)
        size = step.tickets[0].size
        for frame in frames:
            frame.has_begun = True
        accelerator.to_come -= len(frames)
        accelerator.until_s = self._now_s + accelerator.expected_s(len(frames))
        ended = self._admission.begin(str(number), frames)
        accelerator.is_busy = True
        if self._now_s >= _UNCOUNTED * self._scenario.duration_s:
            self.tally.batches[len(frames)] += 1
            self.tally.reasons[step.reason.name] += 1
        network = self._scenario.network
        took_s = network.batch_s(size, len(frames)) * self._factor() + self._held_up_s()
        batch = Batch(size=size, frames=frames, start_s=self._now_s, ended=ended)
        self._at(self._now_s + took_s, number, batch)

    def _factor(self) -> float:
        """Draw how much longer than usual a batch takes."""
        factor = next(self._noise, None)
        if factor is None:
            spread = self._scenario.network.spread
            drawn = np.exp(self._random.normal(0, spread, 4096))
            self._noise = iter([float(value) for value in drawn])
            factor = next(self._noise)
        return factor

    def _held_up_s(self) -> float:
        """Return how long the next batch is held up: one is, once."""
        if self._now_s < _STALLS_AT * self._scenario.duration_s:
            return 0.0
        stall_s, self._stall_s = self._stall_s, 0.0
        return stall_s

    def _renew(self, number: int) -> None:
        """Note when an accelerator will be free, for the next one to choose."""
        accelerator = self._accelerators[number]
        if accelerator.has_prediction:
            more_s = accelerator.to_come * accelerator.costs().pace_s
            self._free_at_s[number] = accelerator.until_s + more_s
        else:
            frames = accelerator.to_come + accelerator.is_busy
            self._free_at_s[number] = frames * _NEVER_S if frames else self._now_s

    def _at(self, time_s: float, number: int, what: object) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), number, what))


def _arrivals(traffic: Traffic) -> Iterator[tuple[float, int, int, bool, float]]:
    return zip(
        traffic.at_s.tolist(),
        traffic.device.tolist(),
        traffic.size.tolist(),
        traffic.is_stat.tolist(),
        traffic.deadline_s.tolist(),
        strict=True,
    )
