from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest
from support.engines import PATIENCE_S, request

from spinert.runtime.engine.job import Job
from spinert.runtime.frame import Answer
from spinert.runtime.image import Note
from spinert.runtime.verdict import (
    Assessment,
    BatchRecord,
    Decision,
    NetworkRun,
    Receipt,
    ReleaseReason,
    Verdict,
)


def answer(name=""):
    verdict = Verdict(
        abnormal_probability=0.0,
        members=(),
        decision=Decision.NORMAL,
        threshold=0.5,
        assessment=Assessment.NORMAL,
        findings=(),
        suppressed=(),
        notes=frozenset({Note.SMALL}),
        reverse_fusion_score=None,
        rows=1,
        columns=1,
    )
    receipt = Receipt(stages=(), batches=(), total_s=0.0)
    return Answer(verdict=verdict, receipt=receipt, input_sha256=name)


@pytest.fixture
def job():
    job = Job(request=request(), roles=("classifier", "detector"))
    job.future.add_done_callback(lambda _: job.leave())
    return job


def record(role):
    return BatchRecord(
        network=role, size=1, slot=0, height=1, width=1, reason=ReleaseReason.FULL
    )


def run(role):
    return NetworkRun(network=role, backend="fake 1", precision="fp32")


def test_the_first_outcome_wins(job):
    job.settle(answer("first"))
    job.settle(answer("second"))
    job.fail(RuntimeError())
    assert job.future.result().input_sha256 == "first"
    assert not job.is_awaited


def test_an_error_is_an_outcome(job):
    error = RuntimeError()
    job.fail(error)
    job.settle(answer())
    assert job.future.exception() is error


def test_a_withdrawn_frame_takes_no_outcome(job):
    job.future.cancel()
    assert not job.is_awaited
    job.settle(answer())
    job.fail(RuntimeError())
    with pytest.raises(CancelledError):
        job.future.result()


def test_whoever_waits_learns_of_a_withdrawn_frame(job):
    waiter = threading.Timer(0.01, job.future.cancel)
    waiter.start()
    done, _ = wait([job.future], timeout=PATIENCE_S)
    waiter.join()
    assert done == {job.future}


@pytest.mark.parametrize("end", ["settle", "fail", "cancel"])
def test_leaving_undoes_what_was_arranged_once(job, end):
    undone = []
    job.when_leaving(lambda: undone.append("before"))
    assert undone == []
    {
        "settle": lambda: job.settle(answer()),
        "fail": lambda: job.fail(RuntimeError()),
        "cancel": job.future.cancel,
    }[end]()
    assert undone == ["before"]
    job.when_leaving(lambda: undone.append("after"))
    assert undone == ["before", "after"], "too late to wait for: at once"


def test_only_the_last_network_completes_a_frame(job):
    assert not job.deliver(None, record("detector"), run("detector"))
    assert job.deliver(None, record("classifier"), run("classifier"))
    assert [run.network for run in job.runs()] == ["classifier", "detector"]
    networks = [batch.network for batch in job.receipt(101.0).batches]
    assert networks == ["classifier", "detector"]


def test_times_count_from_the_arrival_of_the_frame(job):
    job.record("late", 103.0, 103.5)
    job.record("early", 101.0, 104.0)
    receipt = job.receipt(105.0)
    assert [(s.name, s.start_s, s.duration_s) for s in receipt.stages] == [
        ("early", 1.0, 3.0),
        ("late", 3.0, 0.5),
    ]
    assert receipt.total_s == 5.0


def test_evidence_needs_a_prepared_frame(job):
    with pytest.raises(ValueError, match="not prepared"):
        job.evidence()
