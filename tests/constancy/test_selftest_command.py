"""`spinert selftest`, with real phantoms and a server of its own."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest
from support.servers import toml_from, write_served_bundle

from spinert.cli import cli, main

CHOICES = (
    *("--count", 2, "--long-edge", 256, "--score-tolerance", 0.005),
    # A machine that is busy with other tests must not fail this one.
    *("--latency-limit", 600),
)


def spinert(*words, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main(partial(cli, [str(word) for word in words]))
    assert ended.value.code == code


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    write_served_bundle(work / "plain")
    tables = {
        "backend": {"name": "fake"},
        "decode": {"workers": 1},
        "golden": {"state_dir": str(work / "state")},
    }
    (work / "server.toml").write_text(toml_from(tables))
    return work


def selftest(work, bundle, *words, code):
    config = ("--config", work / "server.toml")
    spinert("selftest", "--bundle", work / bundle, *config, *words, code=code)


@pytest.fixture(scope="module")
def limited(work):
    selftest(work, "plain", "--set-limits", "-o", work / "limited", *CHOICES, code=0)
    return work / "limited"


def test_it_passes_and_keeps_a_page_and_a_record(work, limited, tmp_path, capsys):
    selftest(work, "limited", "--record", tmp_path / "records", code=0)
    told = capsys.readouterr().out
    assert "PASSED" in told
    names = sorted(path.suffix for path in (tmp_path / "records").iterdir())
    assert names == [".html", ".json"]
    [path] = (tmp_path / "records").glob("*.json")
    assert json.loads(path.read_text())["passed"] is True


def test_latency_above_the_limit_fails_it_with_exit_code_1(
    work, limited, tmp_path, capsys
):
    hasty = shutil.copytree(limited, tmp_path / "hasty")
    spec = json.loads((hasty / "bundle.json").read_text())
    spec["constancy"]["latency_limit_s"] = 1e-6
    (hasty / "bundle.json").write_text(json.dumps(spec))
    selftest(work, hasty, "--record", tmp_path / "records", code=1)
    told = capsys.readouterr().out
    assert "FAILED" in told
    assert "the limit is 1e-06 s" in told
    [path] = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text())
    assert [entry["kind"] for entry in record["deviations"]] == ["LATENCY"]
    assert all(case["passed"] for case in record["cases"])


def test_a_bundle_without_limits_ends_with_one_line_and_exit_code_2(work, capsys):
    selftest(work, "plain", "--no-record", code=2)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: the bundle tiny 1 stores no limits; set them: ")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "give either --server or --bundle"),
        (("--server", "a:1", "--bundle", "b"), "give either --server or --bundle"),
        (("--server", "a:1", "--config", "c"), "--config is for --bundle"),
        (("--server", "a:1", "--seed", "0"), "--seed is for --set-limits"),
        (("--server", "a:1", "--long-edge", "300"), "--long-edge is for --set-limits"),
        (("--server", "a:1", "-o", "new"), "--output is for --set-limits"),
        (("--server", "a:1", "--replace"), "--replace is for --set-limits"),
        (("--set-limits", "--bundle", "b"), "--set-limits needs --bundle and -o"),
        (("--server", "a:1", "--no-record", "--record", "r"), "--no-record"),
        (
            ("--set-limits", "--bundle", "b", "-o", "n", "--no-record"),
            "keeps no record",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, why, capsys):
    spinert("selftest", *words, code=2)
    assert why in capsys.readouterr().err
