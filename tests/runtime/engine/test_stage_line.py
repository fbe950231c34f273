"""One stage: its workers, what they are busy with, and who waits."""

from __future__ import annotations

import pytest
from support.engines import raw, request

from spinert.runtime.engine.costs import UNKNOWN_COSTS
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.engine.stage_line import Stage, StageLine
from spinert.runtime.frame import DicomFrame, Priority

NOW_S = 100.0
RAW, FILE = raw(), DicomFrame(data=bytes(10))


def durations(workers, **seconds):
    known = Durations(workers)
    for content, took_s in seconds.items():
        kind = kind_of(request({"raw": RAW, "file": FILE}[content]))
        for _ in range(9):
            known.observe(kind, NOW_S - took_s, NOW_S)
    return known


def line(workers=2, **seconds):
    known = durations(workers, **seconds or {"file": 0.1})
    return StageLine(Stage(costs=known.costs, kind_of=kind_of, workers=workers))


def frame(content=FILE, left_s=9.0, **fields):
    return request(content, deadline_s=NOW_S + left_s, **fields)


def wait_s(stage, new=None, now_s=NOW_S):
    return stage.load(new or frame(), now_s).wait_s


def test_a_frame_waits_for_the_first_worker_that_is_free():
    stage = line()
    stage.begin(frame(), 1, NOW_S)
    assert wait_s(stage) == 0
    stage.begin(frame(), 1, NOW_S + 0.03)
    assert wait_s(stage, now_s=NOW_S + 0.04) == pytest.approx(0.06)


def test_a_worker_that_is_done_is_free_at_once():
    """However long it had been expected to take."""
    stage = line(workers=1)
    run = stage.begin(frame(), 1, NOW_S)
    stage.end(run, NOW_S + 0.02)
    assert wait_s(stage, now_s=NOW_S + 0.02) == 0
    stage.end(run, NOW_S + 0.03)


def test_what_is_held_up_is_expected_to_be_so_for_as_long_again():
    stage = line(workers=1)
    stage.begin(frame(), 1, NOW_S)
    assert wait_s(stage, now_s=NOW_S + 0.1) == 0
    assert wait_s(stage, now_s=NOW_S + 0.2) == pytest.approx(0)
    assert wait_s(stage, now_s=NOW_S + 0.5) == pytest.approx(0.3)
    assert wait_s(stage, now_s=NOW_S + 2.0) == pytest.approx(1.8)


def test_of_what_is_not_known_none_is_held_up():
    stage = StageLine(Stage(costs=lambda _: UNKNOWN_COSTS))
    stage.begin(frame(), 1, NOW_S - 60)
    assert wait_s(stage) == 0


def test_a_worker_that_is_taken_for_long_holds_up_none_but_its_own_share():
    stage = line(workers=2, raw=0.01, file=3.0)
    stage.begin(frame(), 1, NOW_S)
    for _ in range(4):
        stage.add(frame(RAW))
    assert wait_s(stage, frame(RAW)) == pytest.approx(0.04)
    assert wait_s(stage, frame(RAW), NOW_S + 2.99) == pytest.approx(0.025)


def test_frames_that_wait_take_the_workers_that_become_free():
    stage = line()
    for began_s in (NOW_S, NOW_S + 0.04):
        stage.begin(frame(), 1, began_s)
    stage.add(frame())
    assert wait_s(stage, now_s=NOW_S + 0.04) == pytest.approx(0.1)
    for _ in range(3):
        stage.add(frame())
    assert wait_s(stage, now_s=NOW_S + 0.04) == pytest.approx(0.08 + 4 * 0.05)


def test_a_second_batch_in_flight_begins_when_the_first_has_ended():
    stage = line(workers=1)
    first = stage.begin(frame(), 1, NOW_S)
    stage.begin(frame(), 1, NOW_S + 0.01)
    assert wait_s(stage, now_s=NOW_S + 0.05) == pytest.approx(0.15)
    stage.end(first, NOW_S + 0.06)
    assert wait_s(stage, now_s=NOW_S + 0.07) == pytest.approx(0.09)


def test_each_frame_ahead_counts_with_what_its_kind_takes():
    stage = line(workers=1, raw=0.01, file=0.3)
    for content in (RAW, RAW, FILE):
        stage.add(frame(content, left_s=1.0))
    assert wait_s(stage, frame(RAW)) == pytest.approx(0.32)
    assert stage.load(frame(RAW), NOW_S).alone_s == pytest.approx(0.01)
    assert stage.load(frame(FILE), NOW_S).alone_s == pytest.approx(0.3)


def test_a_later_frame_of_another_kind_is_not_made_late():
    stage = line(workers=1, raw=0.01, file=0.3)
    stage.add(frame(FILE, left_s=0.305))
    assert stage.load(frame(RAW, left_s=0.1), NOW_S).overtakes is False, "late already"
    stage = line(workers=1, raw=0.01, file=0.3)
    stage.add(frame(RAW, left_s=0.32))
    assert stage.load(frame(FILE, left_s=0.31), NOW_S).overtakes is True


def test_a_kind_that_did_not_run_lately_is_not_believed_beside_others():
    stage = line(workers=1, raw=0.01, file=0.3)
    later_s = NOW_S + 2
    stage.add(frame(RAW))
    assert stage.load(frame(RAW), later_s).is_guess is False, "it is being tested"
    found = stage.load(frame(FILE), later_s)
    assert found.is_guess
    assert (found.alone_s, found.wait_s) == (0.0, pytest.approx(0.01))


def test_what_is_not_known_is_a_guess():
    found = StageLine(Stage(costs=lambda _: UNKNOWN_COSTS)).load(frame(), NOW_S)
    assert found.is_guess
    assert found.wait_s == found.own_s == 0


def test_stat_frames_are_ahead_of_all_others():
    stage = line(workers=1)
    stage.add(frame(priority=Priority.STAT))
    stage.add(frame(left_s=1.0))
    assert wait_s(stage) == pytest.approx(0.2)
    assert wait_s(stage, frame(priority=Priority.STAT)) == pytest.approx(0.2)
    stage.remove(frame(priority=Priority.STAT), kind_of(frame()))
    assert len(stage) == 1
    assert wait_s(stage) == pytest.approx(0.1)
