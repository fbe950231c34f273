"""Limits and answers of constancy tests, without a server."""

from __future__ import annotations

from collections.abc import Sequence

from spinert.constancy.asking import Asked, NoAnswer
from spinert.constancy.judging import RunReport, case_report, run_report
from spinert.phantom.dicom import PhantomKey, pixels_sha256
from spinert.proto import inference_pb2 as pb
from support.phantoms import ramp_phantom

Found = tuple[str, float, tuple[float, float, float, float]]
"""Class, score, box."""

BOX = (10.0, 10.0, 50.0, 50.0)


def key(index: int = 0) -> PhantomKey:
    return PhantomKey(seed=3, index=index, long_edge_px=100)


def result(
    probability: float = 0.7,
    findings: Sequence[Found] = (),
    *,
    members: Sequence[float] = (0.6, 0.8),
    threshold: float = 0.28,
) -> pb.Result:
    abnormal = probability >= threshold
    verdict = pb.Verdict(
        abnormal_probability=probability,
        threshold=threshold,
        decision=pb.DECISION_ABNORMAL if abnormal else pb.DECISION_NORMAL,
        members=[
            pb.Member(name=f"member-{i}", probability=p) for i, p in enumerate(members)
        ],
    )
    for name, score, (x_min, y_min, x_max, y_max) in findings:
        verdict.findings.add(
            class_name=name,
            score=score,
            box=pb.Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
        )
    return pb.Result(
        verdict=verdict, provenance=pb.Provenance(backend="fake 1", precision="fp32")
    )


def asked(
    outcome: pb.Result | NoAnswer, index: int = 0, *, latency_s: float = 0.1
) -> Asked:
    phantom = ramp_phantom(key(index))
    return Asked(
        key=key(index),
        phantom=phantom,
        pixels_sha256=pixels_sha256(phantom),
        outcome=outcome,
        latency_s=latency_s,
    )


def limits(*answers: Asked) -> pb.Constancy:
    """Return limits that `answers` were measured for; none: no cases."""
    told = pb.Constancy(
        seed=3,
        long_edge_px=100,
        phantom_version="1",
        score_tolerance=0.02,
        box_iou_min=0.5,
        finding_floor=0.3,
        latency_limit_s=1.0,
        measured_on="fake 1, fp32",
    )
    for answer in answers:
        verdict = answer.outcome.verdict  # type: ignore[union-attr]
        case = told.cases.add(
            index=answer.key.index,
            pixels_sha256=answer.pixels_sha256,
            abnormal_probability=verdict.abnormal_probability,
            decision=verdict.decision,
            members=verdict.members,
        )
        for finding in verdict.findings:
            case.findings.add(
                class_name=finding.class_name, score=finding.score, box=finding.box
            )
    return told


def report(before: Sequence[Asked], now: Sequence[Asked]) -> RunReport:
    """Hold `now` against limits that `before` were measured for."""
    told = limits(*before)
    pairs = zip(told.cases, now, strict=True)
    return run_report(told, [case_report(told, case, a) for case, a in pairs])
