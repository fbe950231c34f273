from __future__ import annotations

import itertools

import pytest
from support.engines import (
    PATIENCE_S,
    ManualClock,
    raw,
    request,
    running_engine,
)

from spinert.runtime.engine.costs import CostModel
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.line import WaitingLine
from spinert.runtime.engine.stages import DECODE, PREPARE, job_outlook, learn_costs
from spinert.runtime.engine.ticket import BatchRules, Ticket
from spinert.runtime.errors import DeadlineExceeded, Overloaded, Reason
from spinert.runtime.verdict import Output, ReleaseReason

CLASS_ONLY = frozenset({Output.CLASSIFICATION})


class Runner:
    """Takes 10 ms for each frame, on a clock of its own."""

    def __init__(self, frame_s=0.01):
        self.clock, self.frame_s, self.batches = ManualClock(), frame_s, []

    def __call__(self, batch):
        self.batches.append(batch)
        self.clock.now_s += batch * self.frame_s


@pytest.mark.parametrize(
    ("largest", "batches"), [(1, [1]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
)
def test_what_is_cheap_is_learned_for_every_batch_three_times(largest, batches):
    runner = Runner()
    learn_costs(runner, largest, 10.0, runner.clock)
    assert runner.batches == [1, *batches * 3]


def test_what_is_dear_is_learned_as_far_as_the_time_goes():
    runner = Runner(frame_s=0.11)
    learn_costs(runner, 8, 0.5, runner.clock)
    assert runner.batches == [1, 1, 2]
    once = Runner(frame_s=60.0)
    learn_costs(once, 8, 0.5, once.clock)
    assert once.batches == [1]


def test_a_frame_looks_ahead_to_the_networks_that_it_needs():
    models = {role: CostModel() for role in ("classifier", "detector")}
    models["detector"].observe((0, 0), 1, start_s=99.0, end_s=99.5)
    view = job_outlook(models, {name: Durations(1) for name in (DECODE, PREPARE)}, 4)
    late = request(deadline_s=101.0)
    one = Job(request=late, roles=("classifier",))
    both = Job(request=late, roles=("classifier", "detector"))
    assert view.prospect(one, 100.0).finish_s == 100.0
    assert view.prospect(both, 100.0).finish_s == pytest.approx(100.5)


def test_of_a_network_too_slow_to_be_tried_in_company_no_frame_waits_for_it():
    """Frames that come while it runs are company all the same, and teach."""
    model, clock = CostModel(), ManualClock()

    def run(batch):
        start_s = clock.now_s
        clock.now_s += 0.3 * batch
        model.observe((32, 32), batch, start_s=start_s, end_s=clock.now_s)

    rules = BatchRules(max_batch=4, max_delay_s=0.002)
    line, orders = WaitingLine(rules), itertools.count()

    def step(frames):
        for order in itertools.islice(orders, frames):
            line.put(Ticket(order=order, size=(32, 32), queued_s=clock.now_s))
        return line.take(clock.now_s, model.costs)

    learn_costs(run, rules.max_batch, clock=clock)
    assert model.costs.gains((32, 32), 1) is None
    assert step(1).reason is ReleaseReason.NO_GAIN
    run(1)
    together = step(2)
    assert len(together.tickets) == 2
    run(2)
    assert model.costs.gains((32, 32), 1) is False


# ------------------------------------------------------------ in a whole engine


def taught(engine, clock, seconds=1.0):
    """Make the engine believe that the classifier takes a second for each frame."""
    with engine._lanes["classifier"].switch.using() as source:
        origin = source.run_of("classifier")
    end_s = clock() - 7 * seconds
    for batch in (1, 2, 4):
        start_s, end_s = end_s, end_s + batch * seconds
        engine._costs["classifier"].observe(
            (32, 32), batch, start_s=start_s, end_s=end_s, origin=origin
        )


def test_a_frame_that_cannot_be_in_time_is_refused_before_any_work(bundle, backend):
    clock = ManualClock()
    with running_engine(bundle, backend, clock=clock, max_delay_ms=0) as engine:
        taught(engine, clock)
        with pytest.raises(Overloaded) as caught:
            engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 0.5))
        assert caught.value.reason is Reason.DEADLINE_UNREACHABLE
        assert engine.in_flight == 0
        assert backend.calls == []
        future = engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 1.5))
        future.result(PATIENCE_S)


def test_the_frames_ahead_are_counted(bundle, backend):
    clock = ManualClock()
    with running_engine(
        bundle, backend, clock=clock, max_batch=1, max_delay_ms=0
    ) as engine:
        taught(engine, clock)
        backend.gate.clear()
        first = [
            engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 30 + n))
            for n in range(5)
        ]
        with pytest.raises(Overloaded) as caught:
            engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 1.1))
        assert caught.value.reason is Reason.DEADLINE_UNREACHABLE
        assert caught.value.retry_after_ms > 0
        backend.gate.set()
        for future in first:
            future.result(PATIENCE_S)


def test_a_waiting_frame_that_got_too_late_is_dropped_before_its_deadline(
    bundle, backend
):
    clock = ManualClock()
    with running_engine(
        bundle, backend, clock=clock, max_batch=1, max_delay_ms=0
    ) as engine:
        backend.gate.clear()
        running = engine.submit(request(outputs=CLASS_ONLY))
        backend.wait_until_running()
        waiting = engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 2))
        clock.now_s += 1.5
        taught(engine, clock)
        backend.gate.set()
        running.result(PATIENCE_S)
        with pytest.raises(DeadlineExceeded):
            waiting.result(PATIENCE_S)
    assert backend.frames_run("classifier") == 1


def test_the_receipt_says_that_waiting_would_have_gained_nothing(bundle, backend):
    clock = ManualClock()
    with running_engine(bundle, backend, clock=clock, max_delay_ms=1e6) as engine:
        taught(engine, clock)
        answer = engine.submit(request(raw(), outputs=CLASS_ONLY)).result(PATIENCE_S)
    assert [b.reason for b in answer.receipt.batches] == [ReleaseReason.NO_GAIN]


def test_a_frame_that_runs_is_not_waited_for_twice(bundle, backend):
    clock = ManualClock()
    with running_engine(
        bundle, backend, clock=clock, max_batch=1, max_delay_ms=0
    ) as engine:
        taught(engine, clock)
        backend.gate.clear()
        running = engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 60))
        backend.wait_until_running()
        clock.now_s += 2  # longer than it was expected to take
        late = request(outputs=CLASS_ONLY, deadline_s=clock() + 1.5)
        engine.submit(late)
        assert engine.in_flight == 2
        backend.gate.set()
        running.result(PATIENCE_S)
