"""`make bench`: its parts one after the other, what fails, and which run made what."""

from __future__ import annotations

import json
import subprocess

import pytest

MACHINE = {"cpu": "A processor", "cores": 2, "gpus": []}


@pytest.fixture
def run(program, monkeypatch):
    """Return run.py where the machine and the commit are known."""
    module = program("run")
    monkeypatch.setattr(module, "machine", lambda: MACHINE)
    monkeypatch.setattr(module, "commit_of", lambda folder: "abc1234")
    return module


def failing():
    raise RuntimeError("the server ended")


def test_a_part_that_fails_stops_no_other_and_is_told(run, tmp_path):
    output = tmp_path / "new.json"
    parts = {"front": failing, "small": lambda: {"found": 1}}
    found = run.measured(parts, {"front", "small"}, {}, output)
    assert json.loads(output.read_text()) == found
    assert found["small"] == {"found": 1}
    assert found["failed"] == {"front": "RuntimeError: the server ended"}
    assert "front" not in found
    assert found["stamps"].keys() == {"small"}
    assert found["stamps"]["small"]["seconds"] >= 0


def test_a_part_that_fails_leaves_no_result_of_before_and_one_that_works_no_failure(
    run, tmp_path
):
    parts = {"front": failing, "small": lambda: {"found": 2}}
    kept = {"front": {"found": 1}, "failed": {"small": "OSError: gone"}}
    found = run.measured(parts, set(parts), kept, tmp_path / "new.json")
    assert "front" not in found
    assert found["failed"].keys() == {"front"}
    assert found["small"] == {"found": 2}


def test_parts_that_are_kept_keep_their_run(run, tmp_path):
    parts = {"front": lambda: {}, "small": lambda: {}, "peers": lambda: {"found": 2}}
    first = {"run": "2026-01-01 10:00 UTC", "machine": MACHINE, "commit": "1234567"}
    kept = {
        "date": "2026-01-02",
        "machine": {"cores": 64},
        "front": {"found": 1},
        "small": {"found": 1},
        "stamps": {"front": first},
    }
    found = run.measured(parts, {"peers"}, kept, tmp_path / "new.json")
    stamps = found["stamps"]
    assert stamps["front"] == first
    # Of a file of before there were stamps only its one date is known.
    assert stamps["small"] == {"run": "2026-01-02", "machine": {"cores": 64}}
    assert stamps["peers"]["commit"] == "abc1234"
    assert found["small"] == {"found": 1}
    assert found["machine"] == MACHINE


def test_parts_of_several_runs_are_told_with_what_they_were_made_of(program):
    runs_text = program("run_stamps").runs_text
    one = {"run": "2026-01-01 10:00 UTC", "commit": "abc1234", "machine": MACHINE}
    other = {"run": "2026-01-02 11:00 UTC", "commit": "1234567", "machine": MACHINE}
    assert runs_text({}) == ""
    assert runs_text({"stamps": {"front": one, "small": one}}) == ""
    told = runs_text({"stamps": {"peers": other, "front": one, "small": one}})
    assert told == (
        "Parts of 2 runs: 2026-01-01 10:00 UTC at abc1234: front, small; "
        "2026-01-02 11:00 UTC at 1234567: peers."
    )
    elsewhere = {**other, "machine": {**MACHINE, "cores": 64}}
    told = runs_text({"stamps": {"peers": elsewhere, "front": one}})
    assert told.endswith(" They ran on machines that differ.")


def test_the_runs_stand_above_the_table(program, tmp_path):
    made = {**MACHINE, "packages": {"onnxruntime": "1"}}
    stamps = {
        name: {"run": f"2026-01-0{day} 10:00 UTC", "machine": made}
        for day, name in enumerate(("front", "peers"), 1)
    }
    results = {"date": "2026-01-02", "machine": made, "stamps": stamps}
    table = program("harness").figures_table(results, tmp_path / "a.json", [])
    assert table.splitlines()[1].startswith("Parts of 2 runs: ")
    assert "Parts of 2 runs: " in program("run_page").page_from_results(results)
    del stamps["peers"]
    table = program("harness").figures_table(results, tmp_path / "a.json", [])
    assert "runs" not in table


def test_a_folder_that_is_no_checkout_has_no_commit(program, tmp_path):
    commit_of = program("run_stamps").commit_of
    assert commit_of(tmp_path) is None
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "One"]):
        told = ["-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        subprocess.run(["git", "-C", str(tmp_path), *told], check=True)
    assert len(commit_of(tmp_path)) >= 7


@pytest.fixture
def bench_run(run, tmp_path, monkeypatch):
    """Return what runs `spinert bench run` as it would end."""

    def ended(code, report):
        def process(command, **_):
            if report is not None:
                path = command[command.index("-o") + 1]
                tmp_path.joinpath(path).write_text(json.dumps(report))
            return subprocess.CompletedProcess(command, code, "", "a traceback")

        monkeypatch.setattr(run.subprocess, "run", process)
        return run._report(tmp_path / "bundle", tmp_path)

    return ended


def test_a_report_of_failures_is_a_result_and_a_failure(run, bench_run):
    report = {"failures": {"frames": 3}}
    assert bench_run(1, report) == report
    told = run.failures_from_results({"report": report}, {"report"})
    assert told == ["report: 3 frames have no answer"]


@pytest.mark.parametrize(
    ("code", "report"),
    [(1, None), (2, {"failures": {"frames": 3}}), (1, {"failures": {"frames": 0}})],
)
def test_a_bench_run_that_broke_is_no_result(bench_run, code, report):
    with pytest.raises(RuntimeError, match="a traceback"):
        bench_run(code, report)


@pytest.mark.parametrize(("frames", "code"), [(0, None), (3, 1)])
def test_make_bench_ends_with_1_where_frames_had_no_answer(
    run, tmp_path, monkeypatch, capsys, frames, code
):
    report = {"failures": {"frames": frames}, "subject": {"bundle_name": "tiny"}}
    parts = {"front": failing, "report": lambda: report}
    monkeypatch.setattr(run, "_parts", lambda *_: parts)
    monkeypatch.setattr(run, "page_from_results", lambda results: "a page")
    output = tmp_path / "new.json"
    words = ["--bundle", "b", "--output", str(output), "--only", "report"]
    monkeypatch.setattr(run.sys, "argv", ["run.py", *words])
    if code is None:
        run.main()
    else:
        with pytest.raises(SystemExit) as ended:
            run.main()
        assert ended.value.code == code
    printed = capsys.readouterr().out
    assert ("3 frames have no answer" in printed) is (code is not None)
    assert ("missed" if code else "met") in printed
    assert json.loads(output.read_text())["report"] == report
    assert output.with_suffix(".html").read_text() == "a page"


def test_the_whole_run_says_how_long_it_took(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_parts", lambda *_: {"other": lambda: {}})
    monkeypatch.setattr(run, "page_from_results", lambda results: "a page")
    output = tmp_path / "new.json"
    words = ["run.py", "--bundle", "b", "--output", str(output)]
    for more, is_told in (([], True), (["--peers", "all"], False)):
        monkeypatch.setattr(run.sys, "argv", [*words, *more])
        run.main()
        found = json.loads(output.read_text())
        assert ("make_bench_s" in found) is is_told
        rows = run.rows_from_results(found)
        assert [row[0] for row in rows] == ["make bench, all parts (min)"] * is_told


def test_the_tables_of_preprocessing_and_decoders_are_the_measured_ones(run, program):
    """Those of the committed results: they stand beside their explanations."""
    source = run.HERE / "results" / "2-core-amd-epyc.json"
    results = json.loads(source.read_text())
    page = (run.HERE / "README.md").read_text()
    for part in run.TABLES:
        table = part.table(results[part.name], source)
        assert run.between_marks(page, part.marks, table) == page, part.name


def test_the_table_of_openvino_is_the_measured_one_and_names_its_version(run, program):
    openvino = program("bench_openvino")
    source = run.HERE / "results" / "openvino-2-core-amd-epyc.json"
    results = json.loads(source.read_text())
    page = (run.HERE / "README.md").read_text()
    table = openvino.table(results, source)
    assert run.between_marks(page, openvino.MARKS, table) == page
    results["machine"]["packages"]["openvino"] = "2026.4.1"
    results["sides"]["openvino bf16"] = {"unavailable": "no such processor"}
    table = openvino.table(results, source)
    assert "OpenVINO 2026.4.1;" in table
    assert "| openvino bf16 | unavailable: no such processor |  |  | >= 1.5 |" in table
