from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from support.bundles import tiny_spec

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.decide.verdict_from import (
    Evidence,
    needed_networks,
    verdict_from_evidence,
)
from spinert.runtime.image import Note, Spacing
from spinert.runtime.verdict import Assessment, Decision, Output

CLASS, FINDINGS, SUPPRESSED = Output.CLASSIFICATION, Output.FINDINGS, Output.SUPPRESSED
ALL = frozenset(Output)
SUBSETS = [
    frozenset(chosen)
    for count in range(4)
    for chosen in itertools.combinations(Output, count)
]
FUSIONS = [pb.FUSION_PAPER, pb.FUSION_HARD_CASCADE, pb.FUSION_NONE]


def spec(fusion=pb.FUSION_PAPER, *, reverse=False):
    built = tiny_spec()
    built.fusion.rule = fusion
    if reverse:
        built.fusion.reverse.threshold = 0.5
    return built


def evidence(logit=-3.0):
    return Evidence(
        rows=160,
        columns=128,
        spacing=Spacing(row_mm=0.2, column_mm=0.1),
        notes=frozenset({Note.SMALL}),
        logits=[logit, logit],
        candidates=Candidates(
            boxes=np.array([[0, 0, 32, 40], [32, 40, 64, 80]], np.float32),
            scores=np.array([0.9, 0.3], np.float32),
            labels=np.array([2, 0]),
        ),
        rows_per_pixel=2.0,
        columns_per_pixel=2.0,
    )


def subset_name(outputs: frozenset[Output]) -> str:
    """Name a test alike in every process."""
    return "+".join(sorted(each.name for each in outputs)) or "none"


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("outputs", SUBSETS, ids=subset_name)
def test_only_the_networks_run_that_can_change_the_answer(fusion, reverse, outputs):
    needed = needed_networks(outputs, spec(fusion, reverse=reverse))
    boxes = bool(outputs & {FINDINGS, SUPPRESSED})
    decides = CLASS in outputs or (boxes and fusion != pb.FUSION_NONE)
    expected = {
        "classifier": decides,
        "detector": boxes or (decides and reverse),
    }
    assert needed == tuple(role for role, wanted in expected.items() if wanted)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("outputs", SUBSETS, ids=subset_name)
def test_evidence_of_the_needed_networks_is_enough(fusion, reverse, outputs):
    built = spec(fusion, reverse=reverse)
    needed = needed_networks(outputs, built)
    known = evidence()
    if "classifier" not in needed:
        known = replace(known, logits=None)
    if "detector" not in needed:
        known = replace(known, candidates=None)
    full = verdict_from_evidence(evidence(), built, ALL)
    verdict = verdict_from_evidence(known, built, outputs)
    assert verdict.findings == (full.findings if FINDINGS in outputs else ())
    assert verdict.suppressed == (full.suppressed if SUPPRESSED in outputs else ())
    if CLASS in outputs:
        assert verdict.abnormal_probability == full.abnormal_probability
        assert verdict.decision is full.decision
        assert verdict.members == full.members
        assert verdict.reverse_fusion_score == full.reverse_fusion_score
    else:
        assert verdict.decision is Decision.UNSPECIFIED
        assert verdict.assessment is Assessment.UNSPECIFIED
        assert verdict.members == ()
        assert verdict.reverse_fusion_score is None


def test_a_verdict_says_everything_that_was_asked_for():
    verdict = verdict_from_evidence(evidence(), spec(), ALL)
    assert verdict.decision is Decision.NORMAL
    assert verdict.threshold == 0.28
    assert [m.name for m in verdict.members] == ["first", "second"]
    assert [m.logit for m in verdict.members] == [-3.0, -3.0]
    assert verdict.abnormal_probability == pytest.approx(0.04743, abs=1e-5)
    assert [f.class_index for f in verdict.findings] == [2]
    assert [f.class_index for f in verdict.suppressed] == [0]
    assert verdict.findings[0].box.x_max == 64.0
    assert verdict.findings[0].box.y_max == 80.0
    assert verdict.findings[0].box_mm.x_max == pytest.approx(6.4)
    assert verdict.findings[0].box_mm.y_max == pytest.approx(16.0)
    assert verdict.notes == {Note.SMALL}
    assert (verdict.rows, verdict.columns) == (160, 128)


def test_findings_depend_on_the_decision_even_when_it_is_not_sent():
    normal = verdict_from_evidence(evidence(-3.0), spec(), frozenset({FINDINGS}))
    abnormal = verdict_from_evidence(evidence(3.0), spec(), frozenset({FINDINGS}))
    assert (len(normal.findings), len(abnormal.findings)) == (1, 2)


@pytest.mark.parametrize("missing", ["logits", "candidates"])
def test_missing_evidence_is_never_taken_for_normal(missing):
    with pytest.raises(ValueError, match="has not run"):
        verdict_from_evidence(replace(evidence(), **{missing: None}), spec(), ALL)
