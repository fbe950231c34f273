from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)
from spinert.runtime.image import Spacing
from spinert.runtime.verdict import Box

UNSCALED = Geometry(rows=200, columns=100, rows_per_pixel=1.0, columns_per_pixel=1.0)


def candidates(*entries):
    """Build candidates from (x_min, y_min, x_max, y_max, score, label)."""
    table = np.array(entries, np.float64).reshape(-1, 6)
    return Candidates(
        boxes=table[:, :4].astype(np.float32),
        scores=table[:, 4].astype(np.float32),
        labels=table[:, 5].astype(np.int64),
    )


def rule(**fields):
    return pb.DetectionRule(**{"candidates": 4, "max_detections": 100} | fields)


def scores(found):
    return [round(f.score, 4) for f in found]


def test_findings_come_best_first_and_ties_keep_their_order():
    entries = candidates(
        (0, 0, 10, 10, 0.2, 0),
        (20, 0, 30, 10, 0.9, 1),
        (40, 0, 50, 10, 0.2, 2),
        (60, 0, 70, 10, 0.2, 3),
    )
    found = findings_from_candidates(entries, rule(), UNSCALED)
    assert [f.class_index for f in found] == [1, 0, 2, 3]


def test_a_candidate_at_the_floor_stays_and_one_below_goes():
    floor = 0.3
    below = float(np.nextafter(np.float32(floor), np.float32(0)))
    entries = candidates((0, 0, 9, 9, floor, 0), (20, 0, 29, 9, below, 0))
    found = findings_from_candidates(entries, rule(score_floor=floor), UNSCALED)
    assert scores(found) == [0.3]


def test_a_candidate_at_the_floor_goes_where_scores_must_be_greater():
    floor = 0.05
    above = float(np.nextafter(np.float32(floor), np.float32(1)))
    entries = candidates((0, 0, 9, 9, floor, 0), (20, 0, 29, 9, above, 1))
    strict = rule(score_floor=floor, score_comparison=pb.GREATER)
    found = findings_from_candidates(entries, strict, UNSCALED)
    assert [f.class_index for f in found] == [1]


def test_padding_of_score_zero_goes_where_scores_must_be_greater():
    entries = candidates((0, 0, 0, 0, 0, 0), (0, 0, 9, 9, 0, 1), (0, 0, 9, 9, 0.1, 2))
    strict = rule(score_floor=0.0, score_comparison=pb.GREATER)
    found = findings_from_candidates(entries, strict, UNSCALED)
    assert [f.class_index for f in found] == [2]


def test_no_floor_keeps_scores_of_zero():
    found = findings_from_candidates(candidates((0, 0, 9, 9, 0, 0)), rule(), UNSCALED)
    assert scores(found) == [0.0]


OVERLAPPING = candidates(
    (0, 0, 10, 10, 0.6, 0), (0, 0, 10, 9, 0.9, 0), (0, 0, 10, 8, 0.8, 1)
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nms_iou": 0.0}, [0.9, 0.8, 0.6]),
        ({"nms_iou": 0.5, "nms_class_wise": True}, [0.9, 0.8]),
        ({"nms_iou": 0.5, "nms_class_wise": False}, [0.9]),
        ({"nms_iou": 0.95, "nms_class_wise": False}, [0.9, 0.8, 0.6]),
    ],
)
def test_nms_removes_worse_boxes_of_its_class(fields, expected):
    found = findings_from_candidates(OVERLAPPING, rule(**fields), UNSCALED)
    assert scores(found) == expected


def test_the_largest_scores_that_survive_nms_fill_max_detections():
    fields = {"nms_iou": 0.5, "nms_class_wise": True, "max_detections": 2}
    found = findings_from_candidates(OVERLAPPING, rule(**fields), UNSCALED)
    assert scores(found) == [0.9, 0.8]


def test_nms_runs_in_network_pixels_before_boxes_are_clipped():
    # Outside the image the two hardly overlap; clipped they would be equal.
    entries = candidates((-90, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0))
    found = findings_from_candidates(entries, rule(nms_iou=0.5), UNSCALED)
    assert [f.box for f in found] == [Box(x_min=0, y_min=0, x_max=10, y_max=10)] * 2


def test_boxes_are_clipped_before_nms_where_the_rule_says_so():
    # Of the same two, the worse one is a copy of the better inside the image.
    entries = candidates((-90, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0))
    clipping = rule(nms_iou=0.5, clip_before_nms=True)
    assert scores(findings_from_candidates(entries, clipping, UNSCALED)) == [0.9]
    # The image ends at 100 and at 200 pixels of the network.
    half = Geometry(rows=400, columns=300, rows_per_pixel=2.0, columns_per_pixel=3.0)
    entries = candidates((90, 190, 300, 200, 0.9, 0), (90, 190, 100, 200, 0.8, 0))
    (found,) = findings_from_candidates(entries, clipping, half)
    assert found.box == Box(x_min=270, y_min=380, x_max=300, y_max=400)


def test_each_axis_is_scaled_by_its_own_factor():
    geometry = Geometry(
        rows=400, columns=300, rows_per_pixel=2.0, columns_per_pixel=3.0
    )
    found = findings_from_candidates(
        candidates((10, 20, 30, 60, 0.5, 0)), rule(), geometry
    )
    assert found[0].box == Box(x_min=30, y_min=40, x_max=90, y_max=120)
    assert found[0].box_mm is None


def test_boxes_are_clipped_to_the_original_image():
    geometry = Geometry(
        rows=400, columns=300, rows_per_pixel=2.0, columns_per_pixel=3.0
    )
    found = findings_from_candidates(
        candidates((-5, -7, 500, 500, 0.5, 0)), rule(), geometry
    )
    assert found[0].box == Box(x_min=0, y_min=0, x_max=300, y_max=400)


def test_what_is_empty_after_clipping_is_dropped():
    entries = candidates(
        (150, 0, 180, 10, 0.9, 0),  # right of the image
        (5, 5, 5, 9, 0.8, 0),  # no width
        (9, 9, 5, 5, 0.7, 0),  # inside out
        (99.9, 0, 150, 10, 0.6, 0),  # a sliver remains
    )
    assert scores(findings_from_candidates(entries, rule(), UNSCALED)) == [0.6]


def test_boxes_with_an_edge_below_the_smallest_are_dropped_in_original_pixels():
    geometry = Geometry(
        rows=400, columns=200, rows_per_pixel=2.0, columns_per_pixel=2.0
    )
    entries = candidates((0, 0, 2, 50, 0.9, 0), (0, 0, 1.99, 50, 0.8, 0))
    found = findings_from_candidates(entries, rule(min_box_edge_px=4), geometry)
    assert scores(found) == [0.9]


def test_dropped_boxes_do_not_make_room_for_more():
    # Official order: the top candidates are chosen before empty ones are dropped.
    entries = candidates((150, 0, 180, 10, 0.9, 0), (0, 0, 9, 9, 0.1, 0))
    assert findings_from_candidates(entries, rule(max_detections=1), UNSCALED) == ()


def test_known_spacing_gives_millimetres_on_each_axis():
    geometry = Geometry(
        rows=200,
        columns=100,
        rows_per_pixel=1.0,
        columns_per_pixel=1.0,
        spacing=Spacing(row_mm=0.5, column_mm=0.25),
    )
    found = findings_from_candidates(
        candidates((10, 20, 30, 60, 0.5, 0)), rule(), geometry
    )
    assert found[0].box_mm == Box(x_min=2.5, y_min=10, x_max=7.5, y_max=30)


def reference(entries, fields, geometry):
    """The same steps, one candidate at a time."""
    order = sorted(range(len(entries.scores)), key=lambda i: -entries.scores[i])
    order = [i for i in order if entries.scores[i] >= np.float32(fields.score_floor)]
    kept: list[int] = []
    for i in order:
        if not any(suppresses(entries, j, i, fields) for j in kept):
            kept.append(i)
    found = []
    for i in kept[: fields.max_detections]:
        x0, y0, x1, y1 = entries.boxes[i]
        sx = np.float32(geometry.columns_per_pixel)
        sy = np.float32(geometry.rows_per_pixel)
        x0, x1 = (min(max(v * sx, 0), geometry.columns) for v in (x0, x1))
        y0, y1 = (min(max(v * sy, 0), geometry.rows) for v in (y0, y1))
        if x1 > x0 and y1 > y0:
            found.append((float(x0), float(y0), float(x1), float(y1)))
    return found


def suppresses(entries, better, worse, fields):
    if fields.nms_class_wise and entries.labels[better] != entries.labels[worse]:
        return False
    a, b = entries.boxes[better], entries.boxes[worse]
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return union > 0 and inter / union > fields.nms_iou


# Quarters are exact in float32, so that rounding cannot decide a comparison.
quarter = st.integers(-40, 480).map(lambda n: n / 4)
edge = st.integers(1, 200).map(lambda n: n / 4)
entry = st.tuples(
    quarter, quarter, edge, edge, st.integers(0, 8), st.integers(0, 2)
).map(lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3], t[4] / 8, t[5]))


@settings(max_examples=150)
@given(st.lists(entry, min_size=1, max_size=12), st.booleans(), st.integers(1, 12))
def test_any_candidates_give_what_the_plain_reference_gives(entries, class_wise, top):
    fields = rule(
        score_floor=0.25,
        nms_iou=0.375,
        nms_class_wise=class_wise,
        max_detections=top,
    )
    geometry = Geometry(
        rows=170, columns=90, rows_per_pixel=1.7, columns_per_pixel=90 / 110
    )
    built = candidates(*entries)
    found = findings_from_candidates(built, fields, geometry)
    boxes = [(f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max) for f in found]
    assert boxes == reference(built, fields, geometry)
