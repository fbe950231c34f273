"""The rules of the two published forms of VinDr-SpineXR, as unfinished bundles.

They differ in many places (see the fields below): `vindr` is what the code of
github.com/vinbigdata-medical/vindr-spinexr computes, `paper` what arXiv 2106.12930
says. A recipe can override every field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_rules import FORMAT, RESAMPLER_VERSIONS

__all__ = ["PRESETS"]

# In the order of spine/configs: the index is the label. The codes are private; the
# spelling of class 2 is the official one.
_CLASSES: Final = (
    ("Osteophytes", "OSTEOPHYTES"),
    ("Surgical implant", "IMPLANT"),
    ("Spondylolysthesis", "SPONDYLOLISTH"),
    ("Foraminal stenosis", "FORAMINALSTENOS"),
    ("Disc space narrowing", "DISCNARROWING"),
    ("Vertebral collapse", "VERTEBRCOLLAPSE"),
    ("Other lesions", "OTHERLESIONS"),
)
_SCHEME: Final = "99SPINERT"

# detectron2's default pixel mean, for channels in BGR order on 0..255.
_BGR_MEAN: Final = (103.53, 116.28, 123.675)
# ImageNet statistics (0.485, 0.456, 0.406; 0.229, 0.224, 0.225) times 255, RGB.
_RGB_MEAN: Final = (123.675, 116.28, 103.53)
_RGB_STD: Final = (58.395, 57.12, 57.375)


def _network_input(mean: Sequence[float], std: Sequence[float]) -> pb.NetworkInput:
    resampler = pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
    return pb.NetworkInput(
        element_type=pb.ELEMENT_UINT8,
        resampler=resampler,
        resampler_version=RESAMPLER_VERSIONS[resampler],
        mean=mean,
        std=std,
        fill=[0.0, 0.0, 0.0],
    )


def _networks(bundle: pb.Bundle, mean: Sequence[float], std: Sequence[float]) -> None:
    classifier = bundle.networks["classifier"]
    classifier.file = "networks/classifier.onnx"
    classifier.input.CopyFrom(_network_input(mean, std))
    classifier.input.canvas.fixed.height = 224
    classifier.input.canvas.fixed.width = 224
    classifier.output = pb.OUTPUT_LOGITS
    classifier.precision = "fp32"
    detector = bundle.networks["detector"]
    detector.file = "networks/detector.onnx"
    detector.input.CopyFrom(_network_input(mean, std))
    detector.input.takes_image_size = True
    edge = pb.ShortestEdge(short_edge=800, max_long_edge=1333, pad_multiple=32)
    detector.input.canvas.shortest_edge.CopyFrom(edge)
    detector.output = pb.OUTPUT_CANDIDATES
    detector.precision = "fp32"
    # eval.sh: class-wise NMS at 0.7, no score floor, 100 detections.
    detector.detection.candidates = 100
    detector.detection.nms_iou = 0.7
    detector.detection.nms_class_wise = True
    detector.detection.max_detections = 100


def _common() -> pb.Bundle:
    """Return what code and paper agree on, or only the code tells."""
    bundle = pb.Bundle(format=FORMAT)
    bundle.grey.voi = pb.VOI_LUT_THEN_WINDOW
    bundle.grey.invert_monochrome1 = True
    bundle.grey.constant_image = pb.CONSTANT_IMAGE_REFUSE
    for name, code in _CLASSES:
        bundle.classes.add(
            name=name, code_value=code, code_scheme=_SCHEME, code_meaning=name
        )
    bundle.fusion.rule = pb.FUSION_PAPER
    bundle.fusion.low_confidence_cutoff = 0.5
    bundle.decision.comparison = pb.GREATER_OR_EQUAL
    return bundle


def _set_threshold(bundle: pb.Bundle, threshold: float) -> None:
    bundle.decision.threshold = threshold
    bundle.decision.uncertain_from = threshold
    bundle.decision.uncertain_to = threshold


def _vindr() -> pb.Bundle:
    bundle = _common()
    _networks(bundle, _BGR_MEAN, (1.0, 1.0, 1.0))
    bundle.combination.rule = pb.COMBINATION_LOGIT_MEAN
    bundle.combination.probability_clip = 1e-6
    _set_threshold(bundle, 0.28)
    bundle.fusion.comparison = pb.GREATER_OR_EQUAL
    return bundle


def _paper() -> pb.Bundle:
    bundle = _common()
    _networks(bundle, _RGB_MEAN, _RGB_STD)
    bundle.combination.rule = pb.COMBINATION_PROBABILITY_MEAN
    _set_threshold(bundle, 0.2808)
    bundle.fusion.comparison = pb.GREATER
    return bundle


PRESETS: Final[Mapping[str, Callable[[], pb.Bundle]]] = MappingProxyType(
    {"paper": _paper, "vindr": _vindr}
)
