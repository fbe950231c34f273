"""One network alone: its inputs made elsewhere, its outputs as they are.

Such a job skips decoding, preparation and the decision; it waits, is batched and
runs like any other, in the same batches as frames of equal size.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinert.runtime.backends import Arrays
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.outputs import FrameOutput
from spinert.runtime.engine.prepare import NetworkTensor, Prepared
from spinert.runtime.frame import FrameRequest, TensorFrame
from spinert.runtime.preprocess.canvas import Placement
from spinert.runtime.verdict import NetworkRun, Receipt

__all__ = ["TensorAnswer", "tensor_answer", "tensor_job"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TensorAnswer:
    """What a network said of one sample."""

    outputs: Arrays
    """Graph outputs by name, without the batch axis: `logits`, or `boxes`, `scores`
    and `labels`. A sample that did not converge was recomputed."""
    receipt: Receipt
    run: NetworkRun


def tensor_job(request: FrameRequest, content: TensorFrame) -> Job:
    """Return the job of `request`, prepared; `content` is the request's."""
    _, height, width = content.pixels.shape
    place = Placement(
        valid_height=content.valid_height,
        valid_width=content.valid_width,
        height=height,
        width=width,
        rows_per_pixel=1.0,
        columns_per_pixel=1.0,
    )
    tensor = NetworkTensor(pixels=content.pixels, placement=place)
    job = Job(request=request, roles=(content.network,))
    job.prepared = Prepared(
        rows=height,
        columns=width,
        spacing=None,
        notes=frozenset(),
        inputs={content.network: tensor},
    )
    return job


def tensor_answer(job: Job, now_s: float) -> TensorAnswer:
    """Return what the one network of `job` said; call it once delivered."""
    [run] = job.runs()
    return TensorAnswer(
        outputs=_arrays(job.output(run.network)),
        receipt=job.receipt(now_s),
        run=run,
    )


def _arrays(output: FrameOutput) -> Arrays:
    if isinstance(output, Candidates):
        return {
            "boxes": output.boxes,
            "scores": output.scores,
            "labels": output.labels,
        }
    return {"logits": output}
