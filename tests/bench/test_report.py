"""The report as a file."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from support.bench_reports import figure, report_with

from spinert.bench.errors import ReportInvalid
from spinert.bench.figures import Figure
from spinert.bench.report import (
    assembled,
    read_report,
    report_schema,
    write_report,
)


def objects_of(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for inner in schema for found in objects_of(inner)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if "properties" in schema else []
    return own + [found for inner in schema.values() for found in objects_of(inner)]


def test_the_schema_is_one_and_leaves_nothing_open():
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    found = objects_of(schema)
    assert len(found) > 15
    assert all(entry["additionalProperties"] is False for entry in found)


def test_a_report_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "folder" / "report.json"
    report = report_with([figure([1.0, 2.0, 3.5])])
    write_report(path, report)
    assert read_report(path) == report
    # Lists of figures take one line: a report is read by people, too.
    assert '"values": [1.0, 2.0, 3.5]' in path.read_text()


def test_figures_are_rounded_to_what_they_mean(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, report_with([figure([1.23456789])]))
    assert read_report(path)["figures"][0]["values"] == [1.23457]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("not JSON", "is not JSON"),
        ("{}", "is no report of this version, at \\$"),
        (json.dumps(report_with([]) | {"format": 2}), r"at \$.format"),
        (json.dumps(report_with([]) | {"patient": "x"}), "patient"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path, content, told):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(ReportInvalid, match=told) as caught:
        read_report(path)
    assert "\n" not in str(caught.value)


def test_a_report_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ReportInvalid, match="No such file"):
        read_report(tmp_path / "absent.json")


def test_a_report_that_breaks_the_schema_is_not_written(tmp_path):
    path = tmp_path / "report.json"
    broken = report_with([]) | {"failures": {"frames": "some"}}
    with pytest.raises(ReportInvalid):
        write_report(path, broken)
    assert not path.exists()


def test_failures_are_added_up_wherever_they_are():
    base = report_with([])
    parts = {
        "traffic": {
            "capacity_per_s": 1.0,
            "frames": [],
            "failures": {"QUEUE_FULL": 1},
            "loads": [{"failures": {"QUEUE_FULL": 2, "TOO_LATE": 1}}],
        },
        "mlperf": [{"failures": {}}],
    }
    one = Figure(name="x", unit="ms", values=(1.0,), lower_is_better=True)
    report = assembled(base["subject"], base["settings"], parts, [one])
    assert report["failures"] == {
        "frames": 4,
        "by_reason": {"QUEUE_FULL": 3, "TOO_LATE": 1},
        "where": {"traffic": {"QUEUE_FULL": 3, "TOO_LATE": 1}},
    }


def test_the_machine_is_described_without_its_name(tmp_path):
    base = report_with([])
    report = assembled(base["subject"], base["settings"], {}, [])
    write_report(tmp_path / "report.json", report)
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["packages"]["numpy"]
    assert "node" not in report["machine"]
