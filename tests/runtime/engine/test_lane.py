from __future__ import annotations

import contextlib

import numpy as np
import pytest
from support.bundles import tiny_spec
from support.engines import GatedBackend, ManualClock, image, request, tiny_bundle

from spinert.runtime.engine.batching import Ticket
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.lane import Lane, batch_inputs
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.engine.scheduler import Batch, Waiting
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
def backend(tmp_path):
    backend = GatedBackend()
    load_networks(backend, tiny_bundle(tmp_path))
    return backend


def job(level=128):
    job = Job(request=request(), roles=("classifier",))
    job.prepared = prepared_from_image(image(level), SPEC, ["classifier"])
    return job


def served(backend, jobs, before=lambda: None):
    finished = []
    lane = Lane(
        role="classifier",
        network=SPEC.networks["classifier"],
        classes=3,
        backend=backend,
        queue=OneBatch(jobs, before),
        turn=contextlib.nullcontext(),
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
