"""The page of a report whose parts are there, or absent."""

from __future__ import annotations

import pytest
from support.bench_reports import report_with

from spinert.bench.latencies import latency_summary
from spinert.bench.page import page_from_report
from spinert.bench.tables import failure_text
from spinert.runtime.report.html import element, text

FAST = latency_summary([0.010 + 0.0001 * i for i in range(200)])
NONE = latency_summary([])


def load(**changes):
    return {
        "varied": "load",
        "pattern": "poisson",
        "devices": 8,
        "seconds": 1.0,
        "offered_per_s": 5.0,
        "sent": 10,
        "answered_per_s": 5.0,
        "latency": FAST,
        "sent_late": FAST,
        "failures": {},
        "p50_ms_by_part": [],
        **changes,
    }


def traffic(*loads):
    frame = {"rows": 1, "columns": 1, "syntax": "rle", "bytes": 1_500_000}
    return {
        "capacity_per_s": 10.0,
        "frames": [frame],
        "failures": {},
        "loads": list(loads),
    }


def test_a_report_without_parts_is_a_page():
    page = page_from_report(report_with([]))
    assert "A processor, 2 cores" in page
    assert "<h2>" not in page


def test_failed_frames_are_told_before_any_figure():
    failures = {"frames": 3, "by_reason": {"QUEUE_FULL": 3}, "where": {}}
    report = report_with([]) | {"failures": failures}
    told = "3 frames have no answer: 3 QUEUE_FULL"
    assert failure_text(report) == told
    page = page_from_report(report)
    assert page.index(told) < page.index('class="tiles"')


def test_a_load_that_was_not_answered_is_in_the_table_and_in_no_plot():
    lost = load(latency=NONE, failures={"QUEUE_FULL": 10})
    page = page_from_report(report_with([], traffic=traffic(load(), lost)))
    assert '<tr class="bad">' in page
    assert page.count("data:image/svg+xml") == 2


@pytest.mark.parametrize(("state", "css"), [("VALID", "good"), ("INVALID", "bad")])
def test_a_run_that_is_not_valid_stands_out(state, css):
    run = {
        "scenario": "Server",
        "seconds": 1.0,
        "target_per_s": 5.0,
        "latency_bound_ms": 100.0,
        "state": state,
        "reasons": ["too <short>"],
        "judged_latency_ms": 90.0,
        "per_s": 4.9,
        "lines": {},
        "latency": FAST,
        "failures": {},
        "by_the_rules": False,
    }
    page = page_from_report(report_with([], mlperf=[run]))
    badge = f'<span class="badge {css}">{state}</span>'
    assert page.index(badge) < page.index("too &lt;short&gt;")
    assert "no submitted MLPerf results" in page


def test_an_answer_that_differs_is_told_on_top():
    accuracy = {
        "frames": 2,
        "answered": 2,
        "bit_identical": 1,
        "largest_probability_difference": 0.2,
        "differences": ["frame 1: another decision"],
        "passed": False,
        "failures": {},
    }
    page = page_from_report(report_with([], accuracy=accuracy))
    assert page.index("answers otherwise") < page.index('class="tiles"')
    assert "frame 1: another decision" in page


def test_what_a_caller_adds_stands_between_summary_and_parts():
    report = report_with([], traffic=traffic(load()))
    page = page_from_report(report, element("p", text("beside its peers")))
    assert page.index("</dl>") < page.index("beside its peers") < page.index("<h2>")
