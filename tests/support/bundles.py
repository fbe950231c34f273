"""Tiny bundles for the fake backend: the networks are only names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from google.protobuf import json_format

from spinert.proto import bundle_pb2 as pb

MEMBERS = ("first", "second")
CLASSES = ("Osteophytes", "Surgical implant", "Other lesions")


def network_input(canvas: pb.CanvasPolicy) -> pb.NetworkInput:
    return pb.NetworkInput(
        element_type=pb.ELEMENT_UINT8,
        canvas=canvas,
        resampler=pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST,
        resampler_version="pillow<=12",
        mean=[103.53, 116.28, 123.675],
        std=[1, 1, 1],
        fill=[0, 0, 0],
    )


def tiny_spec() -> pb.Bundle:
    """Return a valid spec without files: 32 x 32 classifier, detector of 64/96."""
    spec = pb.Bundle(format=1, name="tiny", version="1", notice="for tests only")
    spec.grey.CopyFrom(
        pb.GreyRule(
            voi=pb.VOI_LUT_THEN_WINDOW,
            invert_monochrome1=True,
            constant_image=pb.CONSTANT_IMAGE_REFUSE,
        )
    )
    classifier = spec.networks["classifier"]
    classifier.file = "networks/classifier.onnx"
    classifier.architecture = "fake"
    classifier.members.extend(MEMBERS)
    classifier.output = pb.OUTPUT_LOGITS
    classifier.precision = "fp32"
    classifier.input.CopyFrom(
        network_input(pb.CanvasPolicy(fixed=pb.FixedCanvas(height=32, width=32)))
    )
    detector = spec.networks["detector"]
    detector.file = "networks/detector.onnx"
    detector.architecture = "fake"
    detector.output = pb.OUTPUT_CANDIDATES
    detector.precision = "fp32"
    edge = pb.ShortestEdge(short_edge=64, max_long_edge=96, pad_multiple=32)
    detector.input.CopyFrom(network_input(pb.CanvasPolicy(shortest_edge=edge)))
    detector.input.takes_image_size = True
    detector.detection.CopyFrom(
        pb.DetectionRule(
            candidates=8, nms_iou=0.7, nms_class_wise=True, max_detections=100
        )
    )
    spec.combination.CopyFrom(
        pb.Combination(rule=pb.COMBINATION_LOGIT_MEAN, probability_clip=1e-6)
    )
    spec.decision.CopyFrom(
        pb.DecisionRule(threshold=0.28, comparison=pb.GREATER_OR_EQUAL)
    )
    spec.classes.extend(
        pb.FindingClass(name=name, code_value=str(i), code_scheme="99TEST")
        for i, name in enumerate(CLASSES)
    )
    spec.fusion.CopyFrom(
        pb.Fusion(
            rule=pb.FUSION_PAPER,
            low_confidence_cutoff=0.5,
            comparison=pb.GREATER_OR_EQUAL,
        )
    )
    return spec


def write_bundle(directory: Path, spec: pb.Bundle, files: dict[str, bytes]) -> Path:
    """Write `spec` and `files` (path -> content) as a bundle; return `directory`."""
    spec = pb.Bundle.FromString(spec.SerializeToString())
    del spec.files[:]
    for name, content in sorted(files.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        spec.files.append(pb.File(path=name, bytes=len(content), sha256=digest))
    text = json_format.MessageToJson(spec, preserving_proto_field_name=True)
    (directory / "bundle.json").write_text(text)
    return directory


def write_tiny_bundle(directory: Path, spec: pb.Bundle | None = None) -> Path:
    """Write a bundle that the fake backend serves; its ONNX files are empty."""
    files = {"networks/classifier.onnx": b"fake", "networks/detector.onnx": b"fake"}
    return write_bundle(directory, spec or tiny_spec(), files)
