"""The load of the overload benchmark, on an engine that is always slow."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future

import pytest
from support.fronts import answer_with

from spinert.runtime.errors import Overloaded, Reason


class SlowEngine:
    """Refuses every third frame; says of the others that they took two seconds."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, request):
        self.count += 1
        if self.count % 3 == 0:
            raise Overloaded(Reason.QUEUE_FULL, "no place")
        answer = answer_with()
        receipt = dataclasses.replace(answer.receipt, total_s=2.0)
        future: Future = Future()
        future.set_result(dataclasses.replace(answer, receipt=receipt))
        return future


def test_goodput_counts_the_time_until_the_last_answer(program):
    overload = program("bench_overload")
    engine = SlowEngine()
    found = overload.offered(engine, 1.0, 0.1, seed=0)
    assert engine.count == 20
    assert (len(found.answers), found.refused) == (14, {Reason.QUEUE_FULL: 6})
    assert found.seconds > 2.0
    assert found.goodput_per_s == pytest.approx(14 / found.seconds)
    assert len(found.sent_late_s) == 20
    assert min(found.sent_late_s) >= 0
