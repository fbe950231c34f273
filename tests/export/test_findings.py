"""The export's findings are the runtime's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinert.export.findings import findings_from_answer
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)
from spinert.runtime.preprocess.canvas import placement

SHAPE = (150, 97)
CANVASES = {
    "fixed": pb.CanvasPolicy(fixed=pb.FixedCanvas(height=64, width=80)),
    "letterbox": pb.CanvasPolicy(letterbox=pb.Letterbox(height=64, width=64)),
    "shortest_edge": pb.CanvasPolicy(
        shortest_edge=pb.ShortestEdge(short_edge=60, max_long_edge=80, pad_multiple=32)
    ),
    "native": pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32)),
}


@settings(max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(CANVASES)),
    st.builds(
        pb.DetectionRule,
        score_floor=st.sampled_from([0.0, 0.25]),
        score_comparison=st.sampled_from([pb.GREATER, pb.GREATER_OR_EQUAL]),
        nms_iou=st.sampled_from([0.0, 0.3, 0.7]),
        nms_class_wise=st.booleans(),
        max_detections=st.sampled_from([0, 5, 100]),
        min_box_edge_px=st.sampled_from([0.0, 9.0]),
        clip_before_nms=st.booleans(),
    ),
)
def test_candidates_become_the_findings_that_the_runtime_makes(seed, kind, rule):
    network = pb.Network(detection=rule)
    network.input.canvas.CopyFrom(CANVASES[kind])
    place = placement(*SHAPE, network.input.canvas)
    frame = NetworkFrame(
        image=np.zeros((1, place.height, place.width), np.uint8),
        height=place.valid_height,
        width=place.valid_width,
    )
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 40))
    corner = rng.uniform(-20, 80, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-1, 50, (count, 2))], axis=1)
    answer = {
        "boxes": boxes.astype(np.float32),
        # Of few values, so that some are equal to each other and to the floor.
        "scores": (rng.integers(0, 9, count) / 8).astype(np.float32),
        "labels": rng.integers(0, 3, count),
    }
    found = findings_from_answer(answer, network, frame, SHAPE)
    geometry = Geometry(
        rows=SHAPE[0],
        columns=SHAPE[1],
        rows_per_pixel=place.rows_per_pixel,
        columns_per_pixel=place.columns_per_pixel,
    )
    served = findings_from_candidates(Candidates(**answer), rule, geometry)
    assert found["scores"].tolist() == [f.score for f in served]
    assert found["labels"].tolist() == [f.class_index for f in served]
    scale = np.tile([place.columns_per_pixel, place.rows_per_pixel], 2)
    for box, expected in zip(found["boxes"] * scale, served, strict=True):
        edges = expected.box
        assert box.tolist() == pytest.approx(
            [edges.x_min, edges.y_min, edges.x_max, edges.y_max], abs=1e-3
        )
