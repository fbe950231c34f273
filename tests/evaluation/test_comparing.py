"""An evaluation against predictions of something else, image by image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.bundles import CLASSES
from support.evaluations import ScriptedSource, other, radiographs, subject
from support.evaluations import write_images as written

from spinert.evaluation.annotations import Annotations
from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.comparing import versus
from spinert.evaluation.deciding import Choice, ChosenBy
from spinert.evaluation.errors import PredictionError
from spinert.evaluation.evaluating import evaluated
from spinert.evaluation.labels import Merge
from spinert.evaluation.running import run_cases
from spinert.evaluation.store import Store

HIGH = Choice(by=ChosenBy.CALLER, threshold=1.0)
OWN = Choice(by=ChosenBy.BUNDLE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparing")
    cases = written(folder / "images", radiographs(6))
    source = ScriptedSource()
    with Store(folder / "store", source.subject) as store:
        return cases, run_cases(cases, "test", source, store, lambda: None)


def found_in(run, choice=OWN):
    cases, answers = run
    known = Annotations(
        cases=tuple(cases), problems=(), classes=CLASSES, rows=6, merge=Merge.PAPER
    )
    few = Bootstrap(resamples=5)
    return evaluated(known, answers, choice, few, split="test", table="test.csv")


def against(run, choice=OWN, of=None, **changed):
    """Compare the run with itself but for the outcomes `changed`."""
    outcomes = {o.image_id: o for o in run[1].outcomes} | changed
    outcomes = {name: o for name, o in outcomes.items() if o is not None}
    return versus(found_in(run, choice), run[1], of or subject(), outcomes)


def test_a_run_is_no_different_from_itself(run):
    found = against(run)
    assert (found.images, found.left_out) == (6, 0)
    assert found.comparison.image_flips == found.comparison.finding_flips == ()


def test_both_are_decided_at_the_threshold_that_was_asked_for(run):
    assert any(answer.prediction.abnormal for answer in run[1].answered)
    found = against(run, HIGH)
    assert found.comparison.image_flips == found.comparison.finding_flips == ()


def test_predictions_that_cannot_be_decided_again_are_not_compared_with_such(run):
    blind = other(subject(), rules=None)
    assert against(run, of=blind).images == 6
    with pytest.raises(PredictionError, match="leave --threshold out"):
        against(run, HIGH, of=blind)


def test_images_without_an_answer_or_of_another_file_are_left_out(run):
    changed = replace(run[1].answered[1], sha256="cd" * 32)
    found = against(run, image0=None, image1=changed)
    assert (found.images, found.left_out) == (4, 2)


def test_sets_without_an_image_in_common_are_refused(run):
    nothing = dict.fromkeys((o.image_id for o in run[1].outcomes), None)
    with pytest.raises(PredictionError, match="no image in common"):
        against(run, **nothing)


def test_predictions_of_other_classes_are_refused(run):
    with pytest.raises(PredictionError, match="are of other classes"):
        against(run, of=other(subject(), classes=CLASSES[::-1]))


def test_a_comparison_without_a_known_cut_off_is_refused(run):
    cases, answers = run
    blind = replace(answers, subject=other(subject(), rules=None))
    with pytest.raises(PredictionError, match="needs the cut-off of the bundle"):
        against((cases, blind))
