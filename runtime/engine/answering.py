"""The last stage: what all networks said of a frame, to its answer."""

from __future__ import annotations

from collections.abc import Callable

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.verdict_from import verdict_from_evidence
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.tensors import TensorAnswer, tensor_answer
from spinert.runtime.frame import Answer, TensorFrame

__all__ = ["answer_from_job"]


def answer_from_job(
    job: Job, spec: pb.Bundle, clock: Callable[[], float]
) -> Answer | TensorAnswer:
    """Decide on a frame that has all outputs; a tensor's are its answer."""
    start_s = clock()
    if isinstance(job.request.content, TensorFrame):
        return tensor_answer(job, start_s)
    verdict = verdict_from_evidence(job.evidence(), spec, job.request.outputs)
    end_s = clock()
    job.record("decide", start_s, end_s)
    return Answer(
        verdict=verdict,
        receipt=job.receipt(end_s),
        input_sha256=job.input_sha256,
        study_uid=job.study_uid,
        runs=job.runs(),
    )
