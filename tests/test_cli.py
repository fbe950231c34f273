"""The command line, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.dicoms import phantom, radiograph
from support.servers import serving, write_served_bundle


def spinert(*words, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spinert", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_served_bundle(tmp_path_factory.mktemp("cli") / "bundle")


@pytest.fixture
def folder(tmp_path) -> Path:
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "good.dcm").write_bytes(radiograph(phantom()))
    (inputs / "bad.dcm").write_bytes(b"not DICOM at all")
    return inputs


def test_help_names_every_command_and_the_disclaimer():
    text = spinert("--help").stdout
    for word in ("export", "inspect", "verify", "serve", "analyze", "not a medical"):
        assert word in text


def test_inspect_shows_what_a_bundle_decides(bundle):
    text = spinert("inspect", bundle).stdout
    for word in ("tiny", "p >= 0.28", "FUSION_PAPER", "score >= 0.5", "Osteophytes"):
        assert word in text


def test_inspect_json_is_the_manifest(bundle):
    text = spinert("inspect", bundle, "--json").stdout
    assert json.loads(text) == json.loads((bundle / "bundle.json").read_text())


def test_verify_measures_every_output(bundle):
    done = spinert("verify", bundle, "--backend", "fake", "--json")
    report = json.loads(done.stdout)
    assert report["passed"]
    outputs = {measure["output"] for measure in report["golden"]["measures"]}
    assert outputs == {"logits", "boxes", "scores", "labels"}
    assert "passes on fake" in spinert("verify", bundle, "--backend", "fake").stdout


def test_a_changed_bundle_fails_with_one_line(tmp_path):
    directory = write_served_bundle(tmp_path / "bundle")
    (directory / "networks" / "detector.onnx").write_bytes(b"FAKE")
    done = spinert("verify", directory, "--backend", "fake", code=2)
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("error: BUNDLE_HASH_MISMATCH: ")


def test_serve_check_validates_without_serving(bundle, tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[backend]\nname = 'fake'\n")
    bad.write_text("[server]\nport = 1\n")
    done = spinert("serve", "--bundle", bundle, "--config", good, "--check")
    assert "valid" in done.stdout
    done = spinert("serve", "--bundle", bundle, "--config", bad, "--check", code=2)
    assert "unknown key 'port'" in done.stderr
    good.write_text("[backend]\nname = 'tensort'\n")
    done = spinert("serve", "--bundle", bundle, "--config", good, "--check", code=2)
    assert "unknown backend 'tensort'" in done.stderr


def test_analyze_tells_what_became_of_each_file(bundle, folder, tmp_path):
    out, pictures = tmp_path / "results.json", tmp_path / "pictures"
    with serving(bundle, tmp_path / "server") as server:
        done = spinert(
            "analyze",
            folder,
            "--server",
            server.address,
            "--json",
            out,
            "--overlay",
            pictures,
        )
    assert "good.dcm" in done.stdout
    assert "MALFORMED_DICOM" in done.stdout
    assert "not a medical device" in done.stdout
    bad, good = json.loads(out.read_text())
    assert Path(bad["file"]).name == "bad.dcm"
    assert bad["error"]["status"] == "INVALID_ARGUMENT"
    assert bad["error"]["reason"] == "MALFORMED_DICOM"
    assert 0 < good["verdict"]["abnormal_probability"] < 1
    assert good["provenance"]["bundle_name"] == "tiny"
    assert [path.name for path in pictures.iterdir()] == ["good.png"]


def test_analyze_needs_a_server_or_a_bundle(folder):
    assert "either --server or --bundle" in spinert("analyze", folder, code=2).stderr


def test_analyze_says_when_no_server_answers(folder):
    done = spinert("analyze", folder, "--server", "127.0.0.1:1", code=2)
    assert done.stderr.startswith("error: ")
    assert "127.0.0.1:1" in done.stderr


def test_export_says_which_file_is_missing(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "x"\nversion = "1"\npreset = "vindr"\n'
        '[[classifier]]\narchitecture = "densenet121"\ncheckpoint = "absent.pth"\n'
        '[detector]\narchitecture = "sparse_rcnn_r50_fpn"\ncheckpoint = "untrained:1"\n'
    )
    done = spinert("export", recipe, "-o", tmp_path / "bundle", code=2)
    assert "absent.pth" in done.stderr
    assert not (tmp_path / "bundle").exists()
