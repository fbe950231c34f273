"""What is asked of LoadGen, and what its summary says."""

from __future__ import annotations

import pytest

from spinert.bench.loadgen_order import (
    LoadGenOrder,
    Scenario,
    order_from_json,
    order_to_json,
    result_from_summary,
)

SINGLE = """\
================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : SingleStream
Mode     : PerformanceOnly
90.0th percentile latency (ns) : 110000000
Result is : INVALID
  Min duration satisfied : Yes
  Min queries satisfied : Yes
  Early stopping satisfied: NO
Recommendations:
Early Stopping Result:
 * Only processed 43 queries.
 * Need to process at least 64 queries for early stopping.

================================================
Additional Stats
================================================
QPS w/ loadgen overhead         : 13.65
QPS w/o loadgen overhead        : 13.78
90.00 percentile latency (ns)   : 110384135
99.00 percentile latency (ns)   : 154433677
"""


def test_an_order_goes_to_another_process_and_back():
    order = LoadGenOrder(
        scenario=Scenario.SERVER,
        address="127.0.0.1:1",
        frames=("a", "b"),
        logs="somewhere",
        seconds=3.5,
        rate_per_s=7.0,
    )
    assert order_from_json(order_to_json(order)) == order


def test_an_invalid_run_is_told_with_its_reasons():
    found = result_from_summary(Scenario.SINGLE_STREAM, SINGLE)
    assert found["state"] == "INVALID"
    assert found["reasons"] == [
        "Only processed 43 queries.",
        "Need to process at least 64 queries for early stopping.",
    ]
    assert found["judged_latency_ms"] == pytest.approx(110.384135)
    assert found["per_s"] == pytest.approx(13.78)


def test_a_reason_that_goes_on_in_the_next_line_ends_as_a_sentence():
    summary = " * Processed 12 queries.\n * Would need 9 more queries,\n with luck.\n"
    found = result_from_summary(Scenario.SERVER, summary)
    assert found["reasons"] == ["Processed 12 queries.", "Would need 9 more queries"]


def test_each_scenario_is_judged_by_its_own_percentile():
    found = result_from_summary(Scenario.MULTI_STREAM, SINGLE)
    assert found["judged_latency_ms"] == pytest.approx(154.433677)
    assert result_from_summary(Scenario.OFFLINE, SINGLE)["judged_latency_ms"] is None


def test_a_summary_that_says_nothing_is_no_result():
    found = result_from_summary(Scenario.SERVER, "")
    assert found["state"] == "ABSENT"
    assert found["per_s"] is None
