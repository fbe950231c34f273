"""The images shown are those that went most wrong, each once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Picture
from support.evaluations import Radiograph, lesion, subject
from support.evaluations import write_images as written
from support.scored_images import case, prediction

from spinert.evaluation.miss_pictures import miss_picture, miss_pictures
from spinert.evaluation.misses import Miss, missed_lesions, worst_misses

BOX = (10.0, 10.0, 30.0, 40.0)
FAR = (50.0, 50.0, 60.0, 60.0)
HALF = (10.0, 10.0, 30.0, 25.0)


def pairs(*entries):
    """(name, truth boxes, probability, found boxes): abnormal from 0.5 on."""
    cases = [case(name, *truth) for name, truth, _, _ in entries]
    predictions = [prediction(name, p, *found) for name, _, p, found in entries]
    return cases, predictions


def test_kinds_of_error_come_in_turn_the_worst_first():
    cases, predictions = pairs(
        ("fine", [("x", BOX)], 0.9, [("x", BOX, 0.9)]),
        ("missed a little", [("x", BOX)], 0.4, [("x", BOX, 0.9)]),
        ("missed badly", [("x", BOX)], 0.1, []),
        ("alarm", [], 0.6, []),
        ("loud alarm", [], 0.9, []),
        ("two unfound", [("x", BOX), ("y", BOX)], 0.8, [("x", FAR, 0.9)]),
    )
    found = worst_misses(cases, predictions, 10)
    assert [miss.case.image_id for miss in found] == [
        "missed badly",
        "loud alarm",
        "two unfound",
        "missed a little",
        "alarm",
    ]
    assert [miss.what for miss in found[:3]] == [
        "abnormal, called normal",
        "normal, called abnormal",
        "2 of 2 lesions not found",
    ]
    assert len(worst_misses(cases, predictions, 2)) == 2
    assert worst_misses(cases, predictions, 0) == []


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (("x", BOX, 0.1), 0),
        (("x", HALF, 0.1), 0),
        (("x", (10.0, 10.0, 30.0, 24.0), 0.1), 1),
        (("y", BOX, 0.9), 1),
        (("x", FAR, 0.9), 1),
        (("x", BOX, 0.9, False), 1),
    ],
)
def test_a_lesion_is_hit_by_a_kept_finding_of_its_class_at_half_overlap(found, missed):
    lesions = missed_lesions(case("a", ("x", BOX)), prediction("a", 0.9, found))
    assert len(lesions) == missed


def test_a_picture_shows_truth_and_finding():
    grey = np.full((400, 300), 90, np.uint8)
    truth = ("Osteophytes", (30.0, 40.0, 120.0, 160.0))
    found = ("Surgical implant", (150.0, 200.0, 260.0, 330.0), 0.8)
    empty = Miss(case=case("a"), prediction=prediction("a", 0.2), what="")
    full = Miss(case=case("a", truth), prediction=prediction("a", 0.2, found), what="")
    plain, drawn = (pixels(grey, miss) for miss in (empty, full))
    changed = np.abs(plain.astype(int) - drawn).max(axis=2) > 40
    scale = plain.shape[1] / 300
    top = plain.shape[0] - round(400 * scale)

    def near(x, y):
        row, column = round(top + y * scale), round(x * scale)
        return changed[row - 6 : row + 7, column - 6 : column + 7].any()

    # Corners of the truth and of the finding, and between the corners of the truth.
    assert all(near(x, y) for x, y in [(30, 40), (120, 160), (150, 200), (260, 330)])
    assert not near(75, 40)
    bright = (drawn[..., 0] > 230) & (drawn[..., 2] > 230)
    assert bright[round(top + 40 * scale), round(35 * scale)]


def pixels(grey, miss):
    jpeg = miss_picture(grey, miss, 0.28, subject())
    return np.asarray(Picture.open(io.BytesIO(jpeg)).convert("RGB"))


def test_pictures_say_what_they_cannot_show(tmp_path):
    names = ("good", "broken", "gone")
    cases = written(tmp_path, [Radiograph(name, 120, (lesion(),)) for name in names])
    cases[1].path.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    cases[2].path.unlink()
    label = lesion().label
    many = [(label, BOX, 0.9 - 0.01 * n) for n in range(20)]
    misses = [
        Miss(case=c, prediction=prediction(c.image_id, 0.1, *many), what="")
        for c in cases
    ]
    done = []
    good, broken, gone = miss_pictures(misses, 0.28, subject(), lambda: done.append(1))
    assert len(done) == 3
    assert Picture.open(io.BytesIO(good.jpeg)).format == "JPEG"
    assert good.hidden == 15
    assert broken.jpeg is None
    assert broken.problem.startswith("MALFORMED_ENCODED_IMAGE")
    assert gone.problem == "No such file or directory"


def test_no_miss_starts_no_decoder():
    assert miss_pictures([], 0.28, subject(), lambda: None) == []
