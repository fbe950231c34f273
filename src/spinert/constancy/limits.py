"""Limits of a constancy test, from the answers of a bundle known to be right."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from spinert.constancy.asking import Asked, NoAnswer
from spinert.constancy.errors import ConstancyError, NoLimitsError, UnstableError
from spinert.phantom.dicom import PhantomKey
from spinert.phantom.version import PHANTOM_VERSION
from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.backends.precision import precision_text

__all__ = [
    "LimitChoices",
    "candidate_keys",
    "keys_from_limits",
    "limits_from_answers",
    "required_limits",
]

_CANDIDATES_PER_CASE: Final = 5
"""So many phantoms are asked, at most, for one that is decided clearly."""
_LEAST_FINDING_FLOOR: Final = 0.3
_LEAST_LATENCY_LIMIT_S: Final = 0.5
_LATENCY_ALLOWANCE: Final = 3.0
"""Of the median measured: what other frames, updates and heat may add."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitChoices:
    """What is chosen about a constancy test; the rest is measured."""

    seed: int = 20
    count: int = 20
    long_edge_px: int = 1024
    score_tolerance: float = 0.02
    """Covers other rounding: of FP16, of another processor, of the phantom itself."""
    box_iou_min: float = 0.5
    finding_floor: float | None = None
    """None: 0.3, or the cut-off of the bundle's fusion rule if that is higher."""
    latency_limit_s: float | None = None
    """None: three times the median measured, at least half a second."""


def required_limits(info: pb.ServerInfo) -> pb.Constancy:
    """Return the limits a server tells.

    Raises:
        NoLimitsError: It tells none, or those of phantoms that are not drawn here.
    """
    limits = info.constancy
    if not limits.cases:
        raise NoLimitsError(
            f"the bundle {info.bundle_name} {info.bundle_version} stores no limits; "
            "set them: spinert selftest --bundle BUNDLE --set-limits -o NEW"
        )
    if limits.phantom_version != PHANTOM_VERSION:
        raise NoLimitsError(
            f"the limits are of phantoms of version {limits.phantom_version}, and this "
            f"spinert draws version {PHANTOM_VERSION}: run the version of spinert they "
            "were set with, or set them anew"
        )
    return limits


def keys_from_limits(limits: pb.Constancy) -> list[PhantomKey]:
    """Return the keys of the phantoms in a test, in order of its cases."""
    return [
        PhantomKey(seed=limits.seed, index=case.index, long_edge_px=limits.long_edge_px)
        for case in limits.cases
    ]


def candidate_keys(choices: LimitChoices) -> Iterator[PhantomKey]:
    """Yield the keys of the phantoms that may become cases."""
    for index in range(_CANDIDATES_PER_CASE * choices.count):
        yield PhantomKey(
            seed=choices.seed, index=index, long_edge_px=choices.long_edge_px
        )


def limits_from_answers(
    choices: LimitChoices, answers: Iterable[Asked], spec: bundle_pb2.Bundle
) -> pb.Constancy:
    """Take the first phantoms that are decided clearly as the cases of a test.

    Those whose probability lies within twice the tolerance of the threshold are left
    out: they could be decided otherwise while all is well. No more answers are taken
    than are needed.

    Raises:
        ConstancyError: A phantom was not answered.
        UnstableError: Too few are decided clearly.
    """
    floor = choices.finding_floor
    floor = _finding_floor(spec) if floor is None else floor
    taken: list[Asked] = []
    cases: list[pb.ConstancyCase] = []
    for asked in answers:
        result = _required(asked)
        if abs(_compared(result) - result.verdict.threshold) > (
            2 * choices.score_tolerance
        ):
            taken.append(asked)
            cases.append(_case(asked, result.verdict, floor))
        if len(cases) == choices.count:
            break
    else:
        raise UnstableError(
            f"only {len(cases)} of {_CANDIDATES_PER_CASE * choices.count} phantoms are "
            f"decided clearly, and {choices.count} are needed: choose a smaller "
            "--score-tolerance or --count"
        )
    origin = _required(taken[0]).provenance
    precision = precision_text(origin.backend, origin.precision)
    return pb.Constancy(
        seed=choices.seed,
        long_edge_px=choices.long_edge_px,
        phantom_version=PHANTOM_VERSION,
        score_tolerance=choices.score_tolerance,
        box_iou_min=choices.box_iou_min,
        finding_floor=floor,
        latency_limit_s=choices.latency_limit_s or _latency_limit_s(taken),
        cases=cases,
        measured_on=f"{origin.backend}, {precision}",
    )


def _required(asked: Asked) -> pb.Result:
    if isinstance(asked.outcome, NoAnswer):
        raise ConstancyError(
            f"phantom {asked.key.index} was not answered, so there are no limits: "
            f"{asked.outcome.reason}: {asked.outcome.message}"
        )
    return asked.outcome


def _finding_floor(spec: bundle_pb2.Bundle) -> float:
    """Return a floor that no fusion rule cuts in two."""
    is_cut = spec.fusion.rule == bundle_pb2.FUSION_PAPER
    cutoff = spec.fusion.low_confidence_cutoff if is_cut else 0.0
    return max(_LEAST_FINDING_FLOOR, cutoff)


def _compared(result: pb.Result) -> float:
    """Return what the decision compared with the threshold."""
    verdict = result.verdict
    if verdict.HasField("reverse_fusion_score"):
        return verdict.reverse_fusion_score
    return verdict.abnormal_probability


def _case(asked: Asked, verdict: pb.Verdict, floor: float) -> pb.ConstancyCase:
    return pb.ConstancyCase(
        index=asked.key.index,
        pixels_sha256=asked.pixels_sha256,
        abnormal_probability=verdict.abnormal_probability,
        members=[
            pb.Member(name=member.name, probability=member.probability)
            for member in verdict.members
        ],
        decision=verdict.decision,
        findings=[
            pb.ConstancyFinding(
                class_name=finding.class_name, score=finding.score, box=finding.box
            )
            for finding in verdict.findings
            if finding.score >= floor
        ],
    )


def _latency_limit_s(taken: Sequence[Asked]) -> float:
    median_s = statistics.median(asked.latency_s for asked in taken)
    allowed_s = math.ceil(100 * _LATENCY_ALLOWANCE * median_s) / 100
    return max(_LEAST_LATENCY_LIMIT_S, allowed_s)
