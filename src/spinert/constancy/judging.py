"""Hold answers against the stored limits: pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spinert.constancy.asking import Asked, NoAnswer
from spinert.constancy.deviations import (
    Deviation,
    Difference,
    Kind,
    deviations_from_differences,
)
from spinert.constancy.findings import paired_findings
from spinert.proto import inference_pb2 as pb

__all__ = ["CaseReport", "RunReport", "case_report", "run_report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseReport:
    """One phantom against its limits."""

    expected: pb.ConstancyCase
    asked: Asked
    deviations: tuple[Deviation, ...]
    score_deviation: float
    """Largest difference of a probability or score; NaN: there was no answer."""
    found_again: tuple[int, ...]
    """Indices of the expected findings that were found again."""
    unexpected: tuple[pb.Finding, ...]
    has_same_pixels: bool
    """Whether this machine drew the very pixels the limits were measured with."""

    @property
    def has_passed(self) -> bool:
        """Tell whether everything lies inside the limits."""
        return not self.deviations


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """A whole test."""

    limits: pb.Constancy
    cases: tuple[CaseReport, ...]
    latency_median_s: float
    """Over the phantoms that were answered; NaN: none was."""
    latency_max_s: float
    deviations: tuple[Deviation, ...]
    """Of the run as a whole; those of a phantom are in its case."""

    @property
    def has_passed(self) -> bool:
        """Tell whether everything lies inside the limits."""
        return not self.deviations and all(case.has_passed for case in self.cases)

    @property
    def score_deviation(self) -> float:
        """Return the largest of all answered phantoms; NaN: none was."""
        told = [case.score_deviation for case in self.cases]
        return max((value for value in told if not math.isnan(value)), default=math.nan)


def run_report(limits: pb.Constancy, cases: Sequence[CaseReport]) -> RunReport:
    """Judge the run as a whole: its median latency."""
    latencies_s = [
        case.asked.latency_s
        for case in cases
        if not isinstance(case.asked.outcome, NoAnswer)
    ]
    median_s = statistics.median(latencies_s) if latencies_s else math.nan
    deviations = []
    if median_s > limits.latency_limit_s:
        deviations.append(
            Deviation(
                kind=Kind.LATENCY,
                text=f"the median phantom took {median_s:.3f} s; the limit is "
                f"{limits.latency_limit_s:g} s",
            )
        )
    return RunReport(
        limits=limits,
        cases=tuple(cases),
        latency_median_s=median_s,
        latency_max_s=max(latencies_s, default=math.nan),
        deviations=tuple(deviations),
    )


def case_report(
    limits: pb.Constancy, expected: pb.ConstancyCase, asked: Asked
) -> CaseReport:
    """Judge the answer for one phantom."""
    answer = asked.outcome
    has_same_pixels = asked.pixels_sha256 == expected.pixels_sha256
    if isinstance(answer, NoAnswer):
        text = f"no answer: {answer.reason}: {answer.message}"
        return CaseReport(
            expected=expected,
            asked=asked,
            deviations=(Deviation(kind=Kind.NO_ANSWER, text=text),),
            score_deviation=math.nan,
            found_again=(),
            unexpected=(),
            has_same_pixels=has_same_pixels,
        )
    findings = paired_findings(limits, expected.findings, answer.verdict.findings)
    differences = [*_probabilities(expected, answer.verdict), *findings.scores]
    deviations = [
        *deviations_from_differences(limits.score_tolerance, differences),
        *_decision(expected, answer.verdict),
        *findings.deviations,
    ]
    return CaseReport(
        expected=expected,
        asked=asked,
        deviations=tuple(deviations),
        score_deviation=max(difference.size for difference in differences),
        found_again=findings.found_again,
        unexpected=findings.unexpected,
        has_same_pixels=has_same_pixels,
    )


def _probabilities(
    expected: pb.ConstancyCase, verdict: pb.Verdict
) -> Iterator[Difference]:
    yield Difference(
        kind=Kind.PROBABILITY,
        of="the probability of abnormal",
        expected=expected.abnormal_probability,
        found=verdict.abnormal_probability,
    )
    found = {member.name: member.probability for member in verdict.members}
    for member in expected.members:
        yield Difference(
            kind=Kind.MEMBER,
            of=f"the probability of {member.name}",
            expected=member.probability,
            found=found.get(member.name, math.nan),
        )


def _decision(expected: pb.ConstancyCase, verdict: pb.Verdict) -> Iterator[Deviation]:
    # Phantoms near the threshold are not among the cases.
    if verdict.decision != expected.decision:
        found, wanted = (
            pb.Decision.Name(value).removeprefix("DECISION_").lower()
            for value in (verdict.decision, expected.decision)
        )
        text = f"it is called {found} instead of {wanted}"
        yield Deviation(kind=Kind.DECISION, text=text)
