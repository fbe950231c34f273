"""Load on a real front."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from support.fronts import ScriptedEngine, answer_with, front_in_a_thread

from spinert.bench.arrivals import Arrival
from spinert.bench.errors import SubjectLost
from spinert.bench.frames import RAW, FramePlan, LoadFrame, frames_from_plan
from spinert.bench.outcomes import answered, failures_of, throughput_per_s
from spinert.bench.sending import closed_loop, open_loop, run_load
from spinert.runtime.errors import Overloaded, Reason


@pytest.fixture(scope="module")
def frames() -> tuple[LoadFrame, ...]:
    return frames_from_plan(FramePlan(syntaxes=(RAW, "rle"), long_edges_px=(256,)))


def test_every_frame_of_a_closed_loop_is_answered_with_its_receipt(frames):
    engine = ScriptedEngine()
    with front_in_a_thread(engine) as front:
        load = closed_loop(front.address, frames, count=7, depth=2, devices=2)
        outcomes = run_load(load)
    assert len(answered(outcomes)) == 7
    assert {outcome.frame for outcome in outcomes} == {0, 1}
    assert {request.device for request in engine.requests} == {"bench-0", "bench-1"}
    assert all(outcome.total_ms == pytest.approx(3) for outcome in outcomes)
    assert outcomes[0].stages[0].name == "decide"
    assert throughput_per_s(outcomes) > 0


class StallingEngine(ScriptedEngine):
    """Answers nothing for the first 0.4 s after its first frame, then everything."""

    stall_s = 0.4

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._has_ended = False

    def submit(self, request):
        future: Future = Future()
        with self._lock:
            if not self.futures:
                threading.Timer(self.stall_s, self._end).start()
            self.futures.append(future)
            is_answered = self._has_ended
        if is_answered:
            future.set_result(answer_with())
        return future

    def _end(self) -> None:
        # A frame is either among those that waited or comes when the stall has ended.
        with self._lock:
            self._has_ended = True
            waiting = list(self.futures)
        for future in waiting:
            future.set_result(answer_with())


def test_a_stall_is_seen_by_every_frame_that_was_due_in_it(frames):
    arrivals = [Arrival(at_s=0.02 * i, device=0, frame=0) for i in range(20)]
    with front_in_a_thread(StallingEngine()) as front:
        outcomes = run_load(open_loop(front.address, frames, arrivals))
    assert failures_of(outcomes) == {}
    assert len(outcomes) == 20
    latencies = [outcome.latency_s for outcome in outcomes]
    # A load that waits would have seen one slow frame; here half of them are.
    assert sum(latency > 0.15 for latency in latencies) >= 8
    # Sixteen frames of credit: the others were due long before they were sent.
    waited = [outcome.sent_s - outcome.due_s for outcome in outcomes]
    assert max(waited) > 0.02


def test_refused_frames_are_counted_by_their_reason(frames):
    engine = ScriptedEngine()
    engine.refusal = Overloaded(Reason.QUEUE_FULL, "no room; retry later")
    arrivals = [Arrival(at_s=0.0, device=i % 3, frame=0) for i in range(6)]
    with front_in_a_thread(engine) as front:
        outcomes = run_load(open_loop(front.address, frames, arrivals))
    assert failures_of(outcomes) == {"QUEUE_FULL": 6}
    assert throughput_per_s(outcomes) == 0


class LeavingEngine(ScriptedEngine):
    """The server goes away with its first frame."""

    front = None

    def submit(self, request):
        self.front.service.drain()
        return super().submit(request)


def test_frames_that_a_leaving_server_never_saw_are_counted_too(frames):
    engine = LeavingEngine()
    arrivals = [Arrival(at_s=0.1 * i, device=0, frame=0) for i in range(6)]
    with front_in_a_thread(engine) as front:
        engine.front = front
        outcomes = run_load(open_loop(front.address, frames, arrivals))
    assert len(outcomes) == 6
    assert sum(failures_of(outcomes).values()) == 5


def test_without_a_server_there_is_nothing_to_measure(frames):
    with pytest.raises(SubjectLost, match="see that `spinert serve` is running"):
        run_load(closed_loop("127.0.0.1:1", frames, count=1, depth=1))


def test_the_load_is_kept_in_time_by_the_clock_it_tells(frames):
    arrivals = [Arrival(at_s=at, device=0, frame=0) for at in (0.0, 0.2, 0.3)]
    started = time.perf_counter()
    with front_in_a_thread(ScriptedEngine()) as front:
        outcomes = run_load(open_loop(front.address, frames, arrivals))
    due = sorted(outcome.due_s for outcome in outcomes)
    assert np.diff(due) == pytest.approx([0.2, 0.1])
    assert all(started < outcome.due_s <= outcome.sent_s for outcome in outcomes)
