from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.splits import BOXES, KEPT, SCORES

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.recompute.proposals import proposals_from_ranked


def proposals(boxes, scores, count, iou=0.7):
    split = pb.Split(nms_iou=iou, max_proposals=count)
    return proposals_from_ranked(boxes, scores, split)


def test_each_level_is_suppressed_alone_and_the_best_of_all_come_first():
    found = proposals(BOXES, SCORES, 6)
    assert found[:4].tolist() == KEPT.tolist()
    assert not found[4:].any(), "filled up with zeros"
    assert found.dtype == np.float32


def test_no_more_than_asked_for_stay():
    assert proposals(BOXES, SCORES, 3).tolist() == KEPT[:3].tolist()


def test_a_filler_stays_out_wherever_it_stands():
    boxes, scores = BOXES.copy(), SCORES.copy()
    boxes[0, 0], scores[0, 0] = 0, -1e4
    found = proposals(boxes, scores, 4)
    # What it would have suppressed stays.
    assert found.tolist() == [
        [1, 1, 21, 21],
        [0, 0, 20, 20],
        [40, 0, 60, 20],
        [30, 30, 50, 50],
    ]


def test_nothing_but_fillers_gives_nothing():
    empty = proposals(np.zeros_like(BOXES), np.full_like(SCORES, -1e4), 4)
    assert empty.shape == (4, 4)
    assert not empty.any()


def test_of_equal_scores_the_finer_level_comes_first():
    boxes = np.array([[[0, 0, 5, 5]], [[0, 0, 9, 9]]], np.float32)
    found = proposals(boxes, np.ones((2, 1), np.float32), 2)
    assert found.tolist() == [[0, 0, 5, 5], [0, 0, 9, 9]]


def greedy(boxes, iou):
    """Say which of boxes (best first) stay, one pair at a time."""
    kept = []
    for index, box in enumerate(boxes):
        if all(overlap(box, boxes[other]) <= np.float32(iou) for other in kept):
            kept.append(index)
    return kept


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(np.float32(0), width) * max(np.float32(0), height)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return inner / (areas[0] + areas[1] - inner)


corner = st.integers(0, 12)
box = st.tuples(corner, corner, st.integers(1, 8), st.integers(1, 8))


@settings(max_examples=60)
@given(st.lists(st.lists(box, min_size=6, max_size=6), min_size=1, max_size=3))
def test_it_is_greedy_suppression_on_any_boxes(levels):
    corners = np.array(levels, np.float32)
    boxes = np.concatenate([corners[..., :2], corners[..., :2] + corners[..., 2:]], 2)
    scores = np.arange(boxes.shape[0] * 6, 0, -1, np.float32).reshape(-1, 6)
    expected = np.concatenate([level[greedy(level, 0.5)] for level in boxes])
    found = proposals(boxes, scores, 18, iou=0.5)
    assert found[: len(expected)].tolist() == expected.tolist()
    assert not found[len(expected) :].any()
