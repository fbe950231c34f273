"""A real Faster R-CNN whose own suppression is given too few rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.bundles import CLASSES, MEMBERS, tiny_spec, write_bundle
from support.engines import PATIENCE_S, HeldDecoder, raw, request, settings
from support.graphs import classifier
from support.small_faster_rcnns import (
    ARCHITECTURE,
    COUNTS,
    FREE,
    grey,
    halves,
    spec,
    with_rounds,
)
from support.small_networks import batch, detector_canvas, golden_frames

from spinert.export.networks.detector import DetectorGraph
from spinert.export.onnx_from_torch import onnx_from_torch
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.image import Image, Photometric

pytestmark = pytest.mark.slow

PROPOSALS, REGIONS = "networks/proposals.onnx", "networks/regions.onnx"
LEVEL = 200


def graph(rounds):
    return DetectorGraph(grey(), with_rounds(len(CLASSES), rounds), None).eval()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    example = batch(golden_frames(detector_canvas())[:2])
    split = ARCHITECTURE.split(with_rounds(len(CLASSES), 1))
    first, second = halves(len(CLASSES))
    hasty = onnx_from_torch(graph(1), example, spec(FREE)).SerializeToString()
    bundle = tiny_spec()
    detector = bundle.networks["detector"]
    detector.detection.candidates = COUNTS["proposals"] * len(CLASSES)
    detector.split.CopyFrom(
        pb.Split(
            proposals=PROPOSALS,
            regions=REGIONS,
            nms_iou=split.nms_iou,
            max_proposals=split.max_proposals,
        )
    )
    files = {
        "networks/classifier.onnx": classifier(len(MEMBERS)).SerializeToString(),
        "networks/detector.onnx": hasty,
        PROPOSALS: first,
        REGIONS: second,
    }
    return load_bundle(write_bundle(tmp_path_factory.mktemp("rcnn"), bundle, files))


def test_an_unsettled_frame_is_answered_as_with_rounds_enough(bundle):
    content = raw(LEVEL)
    pixels = np.frombuffer(content.data, np.uint8).reshape(content.rows, -1)
    image = Image(pixels=pixels, bits_stored=8, photometric=Photometric.MONOCHROME2)
    tensor = prepared_from_image(image, bundle.spec, ["detector"]).inputs["detector"]
    inputs = batch_inputs(bundle.spec.networks["detector"].input, [tensor])
    given = [torch.from_numpy(inputs[name]) for name in ("image", "image_size")]
    answers = []
    for rounds in (1, 60):
        with torch.no_grad():
            answers.append([value[0].numpy() for value in graph(rounds)(*given)])
    assert [int(answer[3]) for answer in answers] == [1, 0]
    backend = OnnxRuntimeBackend(BackendOptions(threads=1))
    load_networks(backend, bundle)
    switch = BackendSwitch(backend)
    with Engine(bundle, switch, HeldDecoder(), settings()) as engine:
        answer = engine.submit(request(content)).result(PATIENCE_S)
    backend.close()
    expected, hurried = (
        findings_from_candidates(
            Candidates(boxes=boxes, scores=scores, labels=labels),
            bundle.spec.networks["detector"].detection,
            Geometry(
                rows=content.rows,
                columns=content.columns,
                rows_per_pixel=tensor.placement.rows_per_pixel,
                columns_per_pixel=tensor.placement.columns_per_pixel,
            ),
        )
        for boxes, scores, labels, _ in reversed(answers)
    )
    every = sorted(
        (*answer.verdict.findings, *answer.verdict.suppressed), key=lambda f: -f.score
    )
    assert scores_of(every) == pytest.approx(scores_of(expected), abs=1e-4)
    assert boxes_of(every) == pytest.approx(boxes_of(expected), abs=1e-2)
    assert len(hurried) != len(expected) or boxes_of(hurried) != pytest.approx(
        boxes_of(expected), abs=1e-2
    ), "the frame would have been answered wrongly"


def scores_of(findings):
    return [finding.score for finding in findings]


def boxes_of(findings):
    return np.array(
        [(f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max) for f in findings]
    )
