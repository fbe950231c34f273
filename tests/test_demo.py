"""`make demo`, on small networks: what a newcomer sees first."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
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


@pytest.fixture(scope="module")
def by_default(small_bundle, tmp_path_factory):
    """Run it as `make demo` does; return the process and its folder."""
    folder = tmp_path_factory.mktemp("demo")
    done = demo(folder, "--bundle", small_bundle)
    assert done.returncode == 0, done.stderr
    return done, folder / "demo-output"


@pytest.mark.slow
def test_by_default_it_shows_phantoms_and_the_real_radiographs_of_pydicom_data(
    by_default,
):
    done, output = by_default
    assert "16 analysed, 0 refused" in done.stdout
    assert "Untrained weights" in done.stdout
    served = json.loads((output / "results.json").read_text())
    assert len(served) == len(list(output.glob("*.png"))) == 16
    assert all("verdict" in answer for answer in served)
    table = (output / "phantoms" / "annotations" / "demo.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    normal = {row["image_id"] for row in rows if row["lesion_type"] == "No finding"}
    assert 0 < len(normal) < 8
    right = 0
    for number in range(1, 9):
        (answer,) = (a for a in served if f"phantom-{number}.dcm" in a["file"])
        own = (output / f"phantom-{number}.dcm").resolve().stem
        called = answer["verdict"]["decision"] == "DECISION_NORMAL"
        right += called == (own in normal)
    assert f"{right} of 8 phantoms rightly called" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_truth_is_drawn_over_what_was_found(by_default):
    _, output = by_default
    with Image.open(output / "phantoms.jpg") as sheet:
        shades = np.asarray(sheet.convert("L"))
    assert shades.shape[1] > 1900
    columns = np.array_split(shades, 4, axis=1)
    assert all(part.std() > 20 for half in columns for part in np.array_split(half, 2))
    truths = (output / "phantoms" / "annotations" / "demo.csv").read_text()
    lesions = [row for row in csv.DictReader(truths.splitlines()) if row["xmin"]]
    first = min(lesions, key=lambda row: row["image_id"])
    (path,) = (
        path
        for path in output.glob("phantom-*.dcm")
        if path.resolve().stem == first["image_id"]
    )
    with Image.open(path.with_suffix(".png")) as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    scale = drawn.shape[1] / header.Columns
    top = drawn.shape[0] - round(header.Rows * scale)
    x, y = (round(scale * float(first[edge])) for edge in ("xmin", "ymin"))
    corner = drawn[top + y - 2 : top + y + 3, x - 2 : x + 3]
    assert (corner.min(axis=-1) > 250).any()


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
