"""The table of `make bench`: what was measured, and whether it is what was wanted."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("figure", "target", "told"),
    [
        ("1.44 (1.23-1.60)", "<= 1.25", "missed"),
        ("1.25 (1.23-1.60)", "<= 1.25", "met"),
        ("2.39 (2.25-2.79)", ">= 3", "missed"),
        ("7.53 (6.80-8.14)", ">= 6", "met"),
        ("18%", ">= 50 %", "missed"),
        ("-0.31 (-6.09-8.07)", "<= 2.5", "met"),
        ("6.72 (6.06-7.87)", "", ""),
        ("12 of 12", "all within tolerances", "met"),
        ("11 of 12", "all within tolerances", "met"),
        ("11 of 12, not all within tolerances", "all within tolerances", "missed"),
        ("0", "0", "met"),
        ("3", "0", "missed"),
        ("1.002", "<= 1", "missed"),
        ("failed: RuntimeError: no 1", "measured", "missed"),
        ("not measured: does not install", ">= 3", ""),
    ],
)
def test_a_row_tells_whether_its_median_is_what_was_wanted(
    program, figure, target, told
):
    assert program("run_rows").verdict(("what", figure, target)) == told


def test_peers_with_a_real_network_have_rows_of_their_own(program):
    ratio = {"median": 0.97, "min": 0.9, "max": 1.1, "rounds": 4}
    part = {
        "network": "densenet121",
        "series": {"spinert-kserve streamed": {}, "mosec raw": {}},
        "throughput_ours_over": {"spinert-kserve streamed": {"mosec raw": ratio}},
        "absent": {"bentoml": "does not install: no wheel"},
    }
    *rows, left_out = program("run_rows").rows_from_results({"peers_network": part})
    assert rows == [
        (
            "requests/s, densenet121 on one thread, KServe, streamed / mosec raw",
            "0.97 (0.90-1.10)",
            "",
        ),
        ("bentoml, densenet121", "not measured: does not install: no wheel", ""),
    ]
    names, told, _ = left_out
    assert names == "pytriton, litserve-json, litserve-form, mlserver, ray_serve, " + (
        "densenet121"
    )
    assert told.startswith("not in this run: ")
    absent = dict.fromkeys(["pytriton", "litserve-json", "litserve-form"], "no wheel")
    absent |= dict.fromkeys(["mlserver", "ray_serve", "bentoml"], "no wheel")
    rows = program("run_rows").rows_from_results(
        {"peers_network": {**part, "absent": absent}}
    )
    assert not [row for row in rows if "not in this run" in row[1]]


def test_the_page_draws_both_comparisons_with_peers(program):
    series = {"per_s": [1.0], "cpu_ms_per_request": [2.0]}
    part = {
        "what": "a request",
        "series": {"spinert-kserve streamed": series, "litserve-json json": series},
        "throughput_ours_over": {"spinert-kserve streamed": {}},
        "absent": {},
    }
    results = {"peers": part, "peers_network": {**part, "network": "densenet121"}}
    page = program("run_page").page_from_results(results)
    assert page.count("data:image/svg+xml") == 4
    assert "Beside its peers, with densenet121" in page


def report_of(failed, passed):
    return {
        "subject": {"bundle_name": "tiny"},
        "failures": {"frames": failed},
        "accuracy": {"bit_identical": 2, "frames": 3, "passed": passed},
    }


def test_frames_without_an_answer_and_wrong_answers_are_rows_with_a_verdict(program):
    rows = program("run_rows")
    told = [
        [rows.verdict(row) for row in rows.rows_from_results({"report": report})]
        for report in (report_of(0, True), report_of(7, False))
    ]
    assert told == [["met", "met"], ["missed", "missed"]]


def test_what_failed_is_told_of_the_parts_that_were_measured(program):
    rows = program("run_rows")
    results = {"report": report_of(7, False), "failed": {"front": "OSError: gone"}}
    assert rows.failures_from_results(results, {"front", "report"}) == [
        "front: OSError: gone",
        "report: 7 frames have no answer",
        "report: the server answers otherwise than the pipeline",
    ]
    assert rows.failures_from_results(results, {"small"}) == []
    assert rows.failures_from_results({"report": report_of(0, True)}, {"report"}) == []


def test_a_part_that_failed_has_a_row_of_one_line(program):
    rows = program("run_rows")
    [row] = rows.rows_from_results({"failed": {"front": "OSError: a |\n b"}})
    assert row == ("part front", "failed: OSError: a / b", "measured")


def test_the_price_of_front_processes_is_paired_by_round(program):
    one = {"cpu_ms": [1.0, 2.0, 4.0], "first_process_cpu_ms": [1.0, 2.0, 4.0]}
    two = {"cpu_ms": [3.0, 4.0, 8.0], "first_process_cpu_ms": [0.5, 1.0, 3.0]}
    small = {
        "tcp": {**one, "frames_per_s": [10.0, 20.0, 10.0]},
        "fronts": {**two, "frames_per_s": [5.0, 10.0, 6.0]},
    }
    part = {"ratios": {}, "small": small, "large": {}}
    found = program("run_rows").rows_from_results({"transport": part})
    label = "2 front processes / none, 602 KB"
    assert found == [
        (f"{label}: CPU of all processes", "2.00 (2.00-3.00)", ""),
        (f"{label}: CPU of the executor", "0.50 (0.50-0.75)", ""),
        (f"{label}: frames/s", "0.50 (0.50-0.60)", ""),
    ]
