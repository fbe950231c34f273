"""`make demo`, on small networks: what a newcomer sees first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.data import ROOT
from support.dicoms import phantom, radiograph

DEMO = ROOT / "examples" / "demo.py"


def demo(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO, *map(str, words)],
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_by_default_it_shows_the_real_radiographs_of_pydicom_data(
    small_bundle, tmp_path
):
    done = demo(tmp_path, "--bundle", small_bundle)
    assert done.returncode == 0, done.stderr
    assert "8 analysed, 0 refused" in done.stdout
    assert "Untrained weights" in done.stdout
    output = tmp_path / "demo-output"
    served = json.loads((output / "results.json").read_text())
    assert len(served) == len(list(output.glob("*.png"))) == 8
    assert all("verdict" in answer for answer in served)


@pytest.mark.slow
def test_of_a_folder_it_lists_what_is_refused_and_serves_the_rest(
    small_bundle, tmp_path
):
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a.dcm").write_bytes(radiograph(phantom()))
    (inputs / "b.dcm").write_bytes(b"not DICOM")
    Image.fromarray(phantom().astype("uint8")).save(inputs / "c.png")
    done = demo(tmp_path, "--bundle", small_bundle, "--input", inputs)
    assert done.returncode == 0, done.stderr
    assert "2 analysed, 1 refused" in done.stdout
    assert "MALFORMED_DICOM" in done.stdout
    pictures = {path.name for path in (tmp_path / "demo-output").glob("*.png")}
    assert pictures == {"a.png", "c.png"}


def test_it_does_not_delete_its_own_input(small_bundle, tmp_path):
    inside = tmp_path / "demo-output" / "kept"
    inside.mkdir(parents=True)
    done = demo(tmp_path, "--bundle", small_bundle, "--input", inside)
    assert done.returncode != 0
    assert "choose another input" in done.stderr
    assert inside.is_dir()
