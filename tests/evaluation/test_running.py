"""A run that was interrupted ends as one that was not."""

from __future__ import annotations

import pytest
from support.evaluations import ScriptedSource, other, radiographs, subject
from support.evaluations import write_images as written

from spinert.evaluation.errors import AnswersLost
from spinert.evaluation.running import run_cases
from spinert.evaluation.store import Store


def run(cases, source, path, split="test"):
    done = []
    with Store(path, source.subject) as store:
        found = run_cases(cases, split, source, store, lambda: done.append(1))
    assert len(done) == len(cases)
    return found


@pytest.fixture
def cases(tmp_path):
    return written(tmp_path / "images", radiographs(7))


def test_every_case_has_an_outcome_in_its_place(cases, tmp_path):
    found = run(cases, ScriptedSource(), tmp_path / "store")
    assert [o.image_id for o in found.outcomes] == [c.image_id for c in cases]
    assert found.answered == found.outcomes
    assert found.continued == 0


def test_an_interrupted_run_goes_on_where_it_ended(cases, tmp_path):
    with pytest.raises(AnswersLost):
        run(cases, ScriptedSource(ends_after=3), tmp_path / "store")
    second = ScriptedSource()
    found = run(cases, second, tmp_path / "store")
    assert second.asked == [case.image_id for case in cases[3:]]
    assert found.continued == 3
    whole = run(cases, ScriptedSource(), tmp_path / "other")
    assert found.outcomes == whole.outcomes


def test_an_image_that_changed_is_asked_again(cases, tmp_path):
    run(cases, ScriptedSource(), tmp_path / "store")
    # As long as before: its content counts.
    cases[2].path.write_bytes(cases[2].path.read_bytes()[::-1])
    again = ScriptedSource()
    run(cases, again, tmp_path / "store")
    assert again.asked == [cases[2].image_id]


def test_another_precision_starts_over(cases, tmp_path):
    run(cases, ScriptedSource(), tmp_path / "store")
    half = ScriptedSource(other(subject(), precision="fp16"))
    assert run(cases, half, tmp_path / "store").continued == 0
    assert len(half.asked) == len(cases)


def test_a_refused_image_is_listed_with_its_reason(cases, tmp_path):
    source = ScriptedSource(refused=frozenset({"image4"}))
    found = run(cases, source, tmp_path / "store")
    [refused] = found.unanswered
    assert (refused.image_id, refused.reason) == ("image4", "COLOUR_IMAGE")
    assert refused.is_refusal
    assert len(found.answered) == 6


def test_a_file_that_is_gone_does_not_stop_the_others(cases, tmp_path):
    cases[5].path.unlink()
    found = run(cases, ScriptedSource(), tmp_path / "store")
    [gone] = found.unanswered
    assert (gone.image_id, gone.reason) == ("image5", "UNREADABLE")
    assert not gone.is_refusal
