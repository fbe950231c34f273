from __future__ import annotations

import numpy as np
import pytest

from spinert.proto import inference_pb2 as pb
from spinert.runtime.report.overlay import overlay

GREY = np.full((600, 400), 128, np.uint8)


def finding(score=0.9, box=(100, 200, 200, 300), index=1):
    x0, y0, x1, y1 = box
    return pb.Finding(
        class_index=index,
        class_name="Surgical implant",
        score=score,
        box=pb.Box(x_min=x0, y_min=y0, x_max=x1, y_max=y1),
    )


def drawn(grey=GREY, **verdict):
    verdict.setdefault("assessment", pb.ASSESSMENT_ABNORMAL)
    result = pb.Result(verdict=pb.Verdict(threshold=0.28, **verdict))
    return np.asarray(overlay(grey, result))


def coloured(picture):
    return int((np.ptp(picture.astype(int), axis=2) > 40).sum())


def body(picture):
    """Cut off the banner: from the first grey pixel of the left column on."""
    grey = np.ptp(picture[:, 0].astype(int), axis=1) == 0
    return picture[int(np.argmax(grey)) :]


def test_a_verdict_without_findings_leaves_the_radiograph_untouched():
    assert coloured(body(drawn())) == 0


def test_a_finding_is_drawn_where_it_is():
    picture = body(drawn(findings=[finding()]))
    scale = picture.shape[0] / GREY.shape[0]
    row = round(250 * scale)
    line = np.flatnonzero(np.ptp(picture[row].astype(int), axis=1) > 40)
    assert line.min() == pytest.approx(100 * scale, abs=3)
    assert line.max() == pytest.approx(200 * scale, abs=3)


def test_a_suppressed_finding_is_dashed():
    box = (50, 100, 350, 550)
    solid = body(drawn(findings=[finding(box=box)]))
    dashed = body(drawn(suppressed=[finding(box=box)]))
    edge = round(350 * solid.shape[1] / GREY.shape[1])
    edge = slice(edge - 3, edge + 4)
    rows = slice(solid.shape[0] // 3, solid.shape[0] * 2 // 3)
    filled = (np.ptp(solid[rows, edge].astype(int), axis=2) > 40).any(axis=1)
    broken = (np.ptp(dashed[rows, edge].astype(int), axis=2) > 40).any(axis=1)
    assert filled.all()
    assert 0.3 < broken.mean() < 0.7


def test_labels_do_not_cover_each_other():
    one = coloured(body(drawn(findings=[finding()])))
    two = coloured(body(drawn(findings=[finding(), finding(score=0.5)])))
    assert two > one + 1000


@pytest.mark.parametrize(("rows", "columns"), [(60, 80), (3000, 2500), (2000, 250)])
def test_pictures_have_a_handy_size(rows, columns):
    picture = body(drawn(grey=np.zeros((rows, columns), np.uint8)))
    assert 900 <= max(picture.shape[:2]) <= 1610


@pytest.mark.parametrize(
    ("assessment", "colour"),
    [
        (pb.ASSESSMENT_NORMAL, (0, 120, 80)),
        (pb.ASSESSMENT_ABNORMAL, (190, 60, 0)),
        (pb.ASSESSMENT_UNCERTAIN, (150, 110, 0)),
        (pb.ASSESSMENT_UNSPECIFIED, (90, 90, 90)),
    ],
)
def test_the_banner_shows_the_assessment(assessment, colour):
    assert tuple(drawn(assessment=assessment)[1, 1]) == colour


def test_a_box_without_area_and_one_outside_the_image_are_survived():
    boxes = [(5, 5, 5, 5), (-50, -50, 900, 900)]
    drawn(findings=[finding(box=b) for b in boxes], suppressed=[finding(box=boxes[0])])
