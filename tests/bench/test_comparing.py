"""Two reports against each other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rich.console import Console, RenderableType
from support.bench_reports import figure, report_with

from spinert.bench.comparing import Verdict, compared
from spinert.bench.tables import comparison_view

QUIET = [10.0, 10.1, 9.9, 10.05, 9.95]


def compare(before: list[float], after: list[float], **about) -> Any:
    first, second = (report_with([figure(v, **about)]) for v in (before, after))
    return compared(first, second, tolerance=0.05)


def verdict(before: list[float], after: list[float], **about) -> Verdict:
    (change,) = compare(before, after, **about).changes
    return change.verdict


def printed(view: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(view)
    return captured.get()


def test_what_takes_longer_beyond_noise_is_worse():
    found = compare(QUIET, [1.2 * value for value in QUIET])
    (change,) = found.changes
    assert change.verdict is Verdict.WORSE
    assert change.ratio == pytest.approx(1.2)
    assert 1.05 < change.low < 1.2 < change.high < 1.3
    assert found.has_regressed


def test_less_throughput_is_worse_by_the_same_measure():
    rates = [1 / value for value in QUIET]
    slower = [value / 1.2 for value in rates]
    assert verdict(rates, slower, lower_is_better=False) is Verdict.WORSE
    assert verdict(slower, rates, lower_is_better=False) is Verdict.BETTER


def test_a_rate_of_0_is_worse_than_any_other_and_as_good_as_itself():
    rates, nothing = [10.0, 11.0, 12.0], [0.0, 0.0, 0.0]
    about = {"lower_is_better": False}
    (change,) = compare(rates, nothing, **about).changes
    assert change.verdict is Verdict.WORSE
    assert change.ratio > 1e9
    assert verdict(nothing, rates, **about) is Verdict.BETTER
    assert verdict(nothing, nothing, **about) is Verdict.SAME
    # Most rounds without one answer: the median is 0, some of its resamples are not.
    (change,) = compare(rates, [0.0, 0.0, 11.0], **about).changes
    assert change.ratio > 1e9
    assert change.verdict is Verdict.SAME


def test_a_time_of_0_is_no_division_by_it():
    assert verdict([0.0] * 3, [1e6] * 3) is Verdict.WORSE
    assert verdict([1e6] * 3, [0.0] * 3) is Verdict.BETTER


def test_a_change_within_the_tolerance_is_the_same():
    assert verdict(QUIET, [1.04 * value for value in QUIET]) is Verdict.SAME


def test_a_change_within_the_noise_is_the_same():
    noisy = [6.0, 16.0, 9.0, 12.0, 10.0]
    found = compare(noisy, [1.2 * value for value in noisy])
    assert found.changes[0].verdict is Verdict.SAME
    assert not found.has_regressed


def test_what_is_faster_is_better():
    assert verdict(QUIET, [0.8 * value for value in QUIET]) is Verdict.BETTER


def test_of_few_rounds_nothing_is_claimed():
    assert verdict([10.0, 10.0], [20.0, 20.0]) is Verdict.UNKNOWN


def test_a_comparison_of_a_report_with_itself_finds_nothing():
    report = report_with([figure(QUIET)])
    found = compared(report, copy.deepcopy(report), tolerance=0.0)
    assert [change.verdict for change in found.changes] == [Verdict.SAME]
    assert found.warnings == ()


def test_another_machine_or_bundle_is_told():
    first, second = report_with([figure(QUIET)]), report_with([figure(QUIET)])
    second["machine"]["cores"] = 64
    second["subject"]["bundle_sha256"] = "ff" * 32
    told = compared(first, second, tolerance=0.05).warnings
    assert [line.split(" ")[0] for line in told] == ["cores", "bundle_sha256"]


def test_a_slower_machine_is_told_by_the_yardstick_and_judged_by_nothing():
    first = report_with([figure(QUIET, name="machine.yardstick")])
    slower = figure([2 * v for v in QUIET], name="machine.yardstick")
    found = compared(first, report_with([slower]), tolerance=0.05)
    assert found.changes == ()
    assert found.warnings[0].startswith("the machine itself took 2.00 times as long")


def test_a_run_with_frames_without_an_answer_is_worse_whatever_its_figures():
    first, second = (report_with([figure(QUIET)]) for _ in range(2))
    second["failures"]["frames"] = 3
    found = compared(first, second, tolerance=0.05)
    assert found.failures == ("3 frames of the second report have no answer",)
    assert found.has_regressed
    assert "worse: 3 frames" in printed(comparison_view(found))
    turned = compared(second, first, tolerance=0.05)
    assert turned.warnings == ("3 frames of the first report have no answer",)
    assert not turned.has_regressed


def test_a_run_that_answers_otherwise_than_its_pipeline_is_worse():
    first, second = (
        report_with([figure(QUIET)], accuracy={"passed": passed})
        for passed in (True, False)
    )
    found = compared(first, second, tolerance=0.05)
    assert found.has_regressed
    assert found.failures[0].endswith("answers otherwise than the pipeline")
    assert not compared(second, first, tolerance=0.05).has_regressed


def test_what_came_to_nothing_is_told_in_words():
    rates = {"lower_is_better": False}
    gone = compare(QUIET, [0.0] * 5, **rates)
    assert "to nothing" in printed(comparison_view(gone))
    come = compare([0.0] * 5, QUIET, **rates)
    assert "from nothing" in printed(comparison_view(come))


def test_figures_of_one_report_only_are_told():
    told = compared(report_with([figure(QUIET)]), report_with([]), tolerance=0.05)
    assert told.warnings == ("in one report only: levels.server.latency_p50",)


def test_other_frames_or_arrivals_are_told():
    frame = {"rows": 9, "columns": 9, "syntax": "raw", "bytes": 162}
    first, second = (
        report_with(
            [],
            levels={"frame": frame},
            traffic={"frames": [frame | {"syntax": syntax}]},
        )
        for syntax in ("raw", "rle")
    )
    second["settings"]["pattern"] = "periodic"
    assert compared(first, second, tolerance=0.05).warnings == (
        "the frames of the open loop differ",
        "pattern was poisson and is periodic",
    )
    assert compared(first, report_with([]), tolerance=0.05).warnings == ()
