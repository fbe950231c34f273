from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest
from support.bundles import tiny_spec
from support.engines import GatedBackend, ManualClock, image, request, tiny_bundle

from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.lane import Lane
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.engine.scheduler import Batch, Waiting
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.engine.ticket import Ticket
from spinert.runtime.errors import BackendError, Reason
from spinert.runtime.recompute.pool import Recomputed
from spinert.runtime.verdict import ReleaseReason

SPEC = tiny_spec()


class OneBatch:
    """A queue that hands out one batch and is closed."""

    def __init__(self, jobs, before=lambda: None):
        self.jobs, self.before = jobs, before

    def take(self):
        if not self.jobs:
            return None
        entries = tuple(
            Waiting(item=job, ticket=Ticket(order=n, size=(32, 32), queued_s=0.0))
            for n, job in enumerate(self.jobs)
        )
        self.jobs = []
        self.before()
        return Batch(entries=entries, reason=ReleaseReason.DELAY)


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path)


@pytest.fixture
def backend(bundle):
    backend = GatedBackend()
    load_networks(backend, bundle)
    return backend


def job(level=128, role="classifier"):
    job = Job(request=request(), roles=(role,))
    job.prepared = prepared_from_image(image(level), SPEC, [role])
    return job


class NoRecompute:
    """Where nothing can be recomputed."""

    def can(self, role):
        return False


class HeldRecompute:
    """Hands out futures that the test completes."""

    def __init__(self):
        self.futures, self.tensors = [], []

    def can(self, role):
        return True

    def submit(self, role, tensor):
        self.tensors.append(tensor)
        self.futures.append(Future())
        return self.futures[-1]


def served(backend, jobs, before=lambda: None, recompute=None, role="classifier"):
    finished = []
    lane = Lane(
        role=role,
        network=SPEC.networks[role],
        classes=3,
        switch=BackendSwitch(backend),
        recompute=recompute or NoRecompute(),
        queue=OneBatch(jobs, before),
        clock=ManualClock(),
        finish=finished.append,
    )
    while lane.step():
        pass
    return finished


def test_a_frame_withdrawn_on_its_way_out_of_the_queue_does_not_run(backend):
    jobs = [job(), job(), job()]
    finished = served(backend, list(jobs), before=jobs[1].future.cancel)
    assert finished == [jobs[0], jobs[2]]
    assert backend.calls == [("classifier", (2, 1, 32, 32))]
    slots = [job.receipt(0.0).batches[0] for job in finished]
    assert [(b.slot, b.size) for b in slots] == [(0, 2), (1, 2)]


def test_a_batch_of_withdrawn_frames_does_not_run_at_all(backend):
    gone = job()
    assert served(backend, [gone], before=gone.future.cancel) == []
    assert backend.calls == []


def test_the_size_input_is_the_valid_height_and_width():
    tensor = prepared_from_image(image(rows=90), SPEC, ["detector"]).inputs["detector"]
    inputs = batch_inputs(SPEC.networks["detector"].input, [tensor, tensor])
    assert inputs["image_size"].tolist() == [[90, 64], [90, 64]]
    assert inputs["image_size"].dtype == np.int32
    assert inputs["image"].shape == (2, 1, 96, 64)
    assert set(batch_inputs(SPEC.networks["classifier"].input, [tensor])) == {"image"}


# ------------------------------------------------------------------- recomputing


@pytest.fixture
def unsettled(backend):
    """A detector that says so of all frames in slot 1."""

    def spoil(role, outputs):
        count = len(outputs["scores"])
        return {**outputs, "status": (np.arange(count) == 1).astype(np.int32)}

    backend.spoil = spoil
    return backend


def recomputed(score):
    found = Candidates(
        boxes=np.ones((8, 4), np.float32),
        scores=np.full(8, score, np.float32),
        labels=np.zeros(8, np.int64),
    )
    return Recomputed(output=found, backend="elsewhere 2", precision="fp32")


def three():
    return [job(40 + 60 * n, "detector") for n in range(3)]


def test_a_frame_that_did_not_converge_is_recomputed_and_the_others_go_on(unsettled):
    pool, jobs = HeldRecompute(), three()
    finished = served(unsettled, jobs, recompute=pool, role="detector")
    assert finished == [jobs[0], jobs[2]]
    assert [tensor is jobs[1].prepared.inputs["detector"] for tensor in pool.tensors]
    pool.futures[0].set_result(recomputed(0.625))
    assert finished == [jobs[0], jobs[2], jobs[1]]
    assert jobs[1].evidence().candidates.scores.tolist() == [0.625] * 8
    [run] = jobs[1].runs()
    assert (run.backend, run.precision) == ("elsewhere 2", "fp32")
    assert run.is_recomputed
    assert [run.is_recomputed for run in jobs[0].runs()] == [False]
    receipt = jobs[1].receipt(0.0)
    names = ["detector", "queue.detector", "recompute.detector"]
    assert sorted(stage.name for stage in receipt.stages) == names
    assert receipt.batches[0].slot == 1


def test_without_split_graphs_such_a_frame_fails_alone(unsettled):
    jobs = three()
    assert served(unsettled, jobs, role="detector") == [jobs[0], jobs[2]]
    error = jobs[1].future.exception(0)
    assert error.reason is Reason.NETWORK_FAILED
    assert "converge" in error.message


def test_a_frame_that_cannot_be_recomputed_fails(unsettled):
    pool, jobs = HeldRecompute(), three()
    finished = served(unsettled, jobs, recompute=pool, role="detector")
    error = BackendError(Reason.NETWORK_FAILED, "failed")
    pool.futures[0].set_exception(error)
    assert jobs[1].future.exception(0) is error
    assert jobs[1] not in finished


def test_a_withdrawn_frame_is_not_recomputed(unsettled):
    pool, jobs = HeldRecompute(), three()
    served(unsettled, jobs, recompute=pool, role="detector")
    jobs[1].future.add_done_callback(lambda _: jobs[1].leave())
    jobs[1].future.cancel()
    assert pool.futures[0].cancelled()


def test_a_recomputation_dropped_at_the_end_still_answers_its_frame(unsettled):
    pool, jobs = HeldRecompute(), three()
    served(unsettled, jobs, recompute=pool, role="detector")
    pool.futures[0].cancel()
    assert jobs[1].future.exception(0).reason is Reason.SHUTTING_DOWN
