"""`spinert bench`, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.bench_reports import figure, report_with
from support.fronts import ScriptedEngine, front_in_a_thread
from support.servers import toml_from, write_served_bundle

from spinert.bench.report import read_report
from spinert.runtime.errors import MalformedFrame, Reason


def spinert(*words, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spinert", "bench", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr + done.stdout
    return done


SHORT = ("--seconds", "0.3", "--rounds", "3", "--devices", "1,3", "--long-edges", "256")
FEW = ("--syntax", "raw", "--syntax", "rle")


@pytest.mark.slow
def test_a_bundle_is_measured_at_every_level(tmp_path):
    bundle = write_served_bundle(tmp_path / "bundle", cost_ms=2)
    config, page = tmp_path / "config.toml", tmp_path / "report.html"
    config.write_text(
        toml_from(
            {
                "backend": {"name": "fake"},
                "decode": {"workers": 1},
                # A slow machine must not refuse what a quick one takes.
                "engine": {"max_frames": 4096, "max_frames_per_device": 4096},
                "golden": {"state_dir": str(tmp_path / "state")},
            }
        )
    )
    path = tmp_path / "report.json"
    place = ("--bundle", bundle, "--config", config)
    done = spinert("run", *place, *SHORT, *FEW, "-o", path, "--html", page)
    report = read_report(path)
    assert report["failures"]["frames"] == 0
    levels = report["levels"]["latency"]
    assert levels["networks"]["p50_ms"] < levels["pipeline"]["p50_ms"]
    assert levels["pipeline"]["p50_ms"] < levels["server"]["p50_ms"]
    assert len(report["levels"]["cpu_ms_per_frame"]) == 3
    assert {"prepare", "decide"} <= report["levels"]["waterfall"]["mean_ms"].keys()
    assert [load["devices"] for load in report["traffic"]["loads"]] == [
        8,
        8,
        8,
        8,
        1,
        3,
    ]
    scenarios = [run["scenario"] for run in report["mlperf"]]
    assert scenarios == ["SingleStream", "MultiStream", "Server", "Offline"]
    assert not any(run["by_the_rules"] for run in report["mlperf"])
    assert report["accuracy"]["bit_identical"] == report["accuracy"]["frames"] == 2
    assert report["layers"] == []  # the fake backend has none to tell
    assert {entry["batch"] for entry in report["scaling"]["batch"]} == {1, 2, 4}
    assert report["cold_start"]["steps"][-1]["event"] == "ready"
    assert report["memory"][0]["process"] == "server"
    names = {entry["name"] for entry in report["figures"]}
    assert {"levels.server.throughput", "machine.yardstick"} <= names
    assert "MLPerf Offline" in done.stdout
    assert page.read_text().count("data:image/svg+xml") >= 6
    assert spinert("compare", path, path).stdout.count("same") >= 5


def test_a_run_with_refused_frames_says_so_on_top_and_fails(tmp_path):
    def outcome(request):
        is_bad = len(engine.requests) % 3 == 0
        return MalformedFrame(Reason.EMPTY_FRAME, "nothing") if is_bad else answer

    engine = ScriptedEngine()
    answer, engine.outcome = engine.outcome, outcome
    path = tmp_path / "report.json"
    parts = ("--scenario", "open-loop", "--scenario", "offline")
    with front_in_a_thread(engine) as front:
        where = ("--server", front.address)
        done = spinert("run", *where, *parts, *SHORT, *FEW, "-o", path, code=1)
    first = done.stdout.splitlines()[0]
    assert first.startswith("FAILED: ")
    assert "EMPTY_FRAME" in first
    report = read_report(path)
    assert set(report["failures"]["where"]) == {"traffic", "mlperf"}
    assert report["subject"]["where"] == "remote"
    assert front.address not in path.read_text()
    [offline] = report["mlperf"]
    assert offline["state"] == "INVALID"
    assert offline["reasons"][0].endswith("frames have no answer")


def test_a_regression_ends_with_code_1(tmp_path):
    for name, factor in (("before", 1.0), ("after", 1.3)):
        values = [factor * value for value in (10.0, 10.1, 9.9, 10.0)]
        report = report_with([figure(values)])
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert "worse" in spinert("compare", before, after, code=1).stdout
    assert "better" in spinert("compare", after, before).stdout
    spinert("compare", before, after, "--tolerance", "0.4")


def test_a_run_that_answered_nothing_ends_with_code_1_and_not_in_a_traceback(tmp_path):
    for name, values, failed in (
        ("before", [9.0, 9.5, 10.0], 0),
        ("after", [0.0] * 3, 7),
    ):
        rates = figure(values, name="levels.server.throughput", lower_is_better=False)
        report = report_with([rates])
        report["failures"]["frames"] = failed
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    done = spinert("compare", tmp_path / "before.json", tmp_path / "after.json", code=1)
    assert done.stdout.startswith("worse: 7 frames of the second report have no answer")
    assert "Traceback" not in done.stderr


def test_reports_without_a_figure_in_common_prove_nothing(tmp_path):
    for name in ("one", "other"):
        report = report_with([figure([1.0, 1.1, 0.9], name=f"levels.{name}")])
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    done = spinert("compare", tmp_path / "one.json", tmp_path / "other.json", code=2)
    assert done.stderr.startswith("error: the two reports have no figure in common")


def test_a_report_is_shown_again_and_drawn(tmp_path):
    path, page = tmp_path / "report.json", tmp_path / "new" / "report.html"
    path.write_text(json.dumps(report_with([])))
    done = spinert("report", path, "--html", page)
    assert "fake 1" in done.stdout
    assert "tiny &lt;&amp;&gt;" in page.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give either --server or --bundle"),
        (("--server", "a:1", "--bundle", "b"), "give either --server or --bundle"),
        (("--server", "a:1", "--config", "c"), "--config is for --bundle"),
        (("--server", "a:1", "--scenario", "layers"), "layers: needs --bundle"),
        (("--server", "a:1", "--devices", "0,4"), "numbers from 1 to 256"),
        (("--server", "a:1", "--devices", "many"), "numbers from 1 to 256"),
        (("--server", "a:1", "--seconds", "nan"), "nan is not a finite number"),
        (("--server", "a:1", "--seconds", "inf"), "0.1<=x<=3600"),
        (("--server", "a:1", "--p99-ms", "inf"), "inf is not a finite number"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(tmp_path, words, told):
    done = spinert("run", *words, "-o", tmp_path / "report.json", code=2)
    assert told in " ".join(done.stderr.split())


def test_a_file_that_is_no_report_is_one_line(tmp_path: Path):
    path = tmp_path / "report.json"
    path.write_text("{}")
    done = spinert("report", path, code=2)
    assert done.stderr.startswith(f"error: {path} is no report of this version")


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path):
    words = ("--server", "127.0.0.1:1", *SHORT, *FEW, "-o", tmp_path / "report.json")
    done = spinert("run", *words, code=2)
    assert "no answer from 127.0.0.1:1" in done.stderr.splitlines()[-1]
