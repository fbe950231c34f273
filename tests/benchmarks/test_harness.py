"""What all benchmarks share."""

from __future__ import annotations

import json
import sys

import pytest

READY = 'print(\'{"event": "ready", "address": "here:1"}\', file=sys.stderr)'


def command(*statements: str) -> list[str]:
    return [sys.executable, "-c", "; ".join(["import sys, time", *statements])]


def test_a_part_writes_its_results_and_renews_its_table(program, tmp_path, monkeypatch):
    harness = program("harness")
    page = tmp_path / "README.md"
    part = harness.Part(
        name="part",
        measure=lambda rounds: {"rounds": rounds},
        table=lambda results, source: f"{results['part']['rounds']} in {source.name}",
        rounds=7,
    )
    start, end = part.marks
    page.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    monkeypatch.setattr(harness, "HERE", tmp_path)
    output = tmp_path / "new.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--output", str(output)])
    part.main("About it.")
    assert json.loads(output.read_text())["part"] == {"rounds": 7}
    assert "\nold\n" in page.read_text()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--rounds", "2", "--readme"])
    part.main("About it.")
    assert page.read_text() == f"before\n{start}\n2 in new.json\n{end}\nafter\n"
    results = json.loads(output.read_text())
    assert results["part"] == {"rounds": 2}
    assert {"cpu", "cores", "packages"} <= results["machine"].keys()


def test_a_server_is_yielded_once_it_is_ready_and_ended_after_the_block(program):
    with program("harness").running(command(READY, "time.sleep(60)")) as server:
        assert server.address == "here:1"
        assert server.process.poll() is None
    assert server.process.poll() is not None


def test_a_server_that_ends_before_it_is_ready_is_told_with_its_last_words(program):
    wrong = command("print('no such bundle', file=sys.stderr)")
    with (
        pytest.raises(RuntimeError, match="before it was ready:\nno such bundle"),
        program("harness").running(wrong),
    ):
        raise AssertionError("it never was ready")


def test_a_server_that_ends_with_an_error_is_no_measurement(program):
    # It leaves when it is told to, but not as it should.
    handler = "import signal; signal.signal(15, lambda *_: sys.exit(3))"
    with (
        pytest.raises(RuntimeError, match="ended with 3"),
        program("harness").running(command(handler, READY, "time.sleep(60)")),
    ):
        pass
