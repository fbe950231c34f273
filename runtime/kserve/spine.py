"""The pipeline: a file or raw pixels to a frame, and its answer to tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from google.protobuf import json_format

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import (
    MalformedFrame,
    Reason,
    UnsupportedFrame,
)
from spinert.runtime.file_kind import FILE_HEAD_BYTES, FileKind, file_kind_of
from spinert.runtime.frame import DicomFrame, EncodedFrame, RawFrame
from spinert.runtime.image import Photometric, Rescale, Spacing, VoiFunction, Window
from spinert.runtime.kserve.inputs import InputTensor, Lender, element_of
from spinert.runtime.kserve.models import VERDICT
from spinert.runtime.kserve.outputs import Elements, Wanted
from spinert.runtime.kserve.parameters import Parameters
from spinert.runtime.kserve.refusals import parameter_invalid
from spinert.runtime.verdict import Output

__all__ = [
    "PARAMETERS",
    "asked_of",
    "content_from_file",
    "content_from_image",
    "outputs_from_result",
]

PARAMETERS: Mapping[str, type] = MappingProxyType(
    {
        "photometric_interpretation": str,
        "bits_stored": int,
        "window_center": float,
        "window_width": float,
        "voi_lut_function": str,
        "rescale_slope": float,
        "rescale_intercept": float,
        "row_spacing_mm": float,
        "column_spacing_mm": float,
        "study_uid": str,
        "series_uid": str,
    }
)
"""Of a request, besides those of every model."""

_OF_IMAGES = frozenset(PARAMETERS) - {"study_uid", "series_uid"}

_CLASSIFIED = {
    "abnormal_probability",
    "threshold",
    "decision",
    "assessment",
    "member_probabilities",
}


def asked_of(wanted: Iterable[Wanted]) -> frozenset[Output]:
    """Return the parts of an answer that these outputs need: a network may rest."""
    names = {output.spec.name for output in wanted}
    asked = set()
    if names & _CLASSIFIED or VERDICT in names:
        asked.add(Output.CLASSIFICATION)
    if names - _CLASSIFIED:
        asked.add(Output.FINDINGS)
    return frozenset(asked)


def content_from_file(
    tensor: InputTensor, parameters: Parameters, lender: Lender
) -> DicomFrame | EncodedFrame:
    """Take the one element of `tensor`, and tell DICOM from PNG and JPEG.

    Raises:
        MalformedFrame: EMPTY_FRAME.
        UnsupportedFrame: ENCODED_FORMAT_UNSUPPORTED: it is none of them.
        ProtocolViolation: PARAMETER_INVALID: one that is for raw pixels; or
            TENSOR_INVALID: the element's length is wrong.
        RegionRefused: It lies in shared memory that cannot be read.
    """
    if surplus := sorted(_OF_IMAGES & parameters.keys()):
        raise parameter_invalid(
            f"{surplus[0]} is for input image; a file says so itself"
        )
    head, file = element_of(tensor, FILE_HEAD_BYTES, lender)
    kind = file_kind_of(head)
    if kind is not None:
        is_dicom = kind is FileKind.DICOM
        return DicomFrame(data=file) if is_dicom else EncodedFrame(data=file)
    raise UnsupportedFrame(
        Reason.ENCODED_FORMAT_UNSUPPORTED,
        "input frame must be a DICOM Part 10, PNG or JPEG file; send raw pixels as "
        "input image",
    )


def content_from_image(tensor: InputTensor, parameters: Parameters) -> RawFrame:
    """Describe raw pixels of shape (rows, columns).

    Raises:
        MalformedFrame: MALFORMED_RAW_IMAGE: what they mean is not said.
        ProtocolViolation: PARAMETER_INVALID.
    """
    given: Mapping[str, Any] = parameters
    if tensor.datatype.dtype is None:
        raise ValueError("pixels are numbers")
    bits = 8 * tensor.datatype.dtype.itemsize
    stored = given.get("bits_stored", bits)
    if not bits - 7 <= stored <= bits:
        raise parameter_invalid(
            f"bits_stored of a {tensor.datatype.name} image: {bits - 7} to {bits}"
        )
    rows, columns = tensor.shape
    return RawFrame(
        rows=rows,
        columns=columns,
        bits_stored=stored,
        is_signed=tensor.datatype.dtype.kind == "i",
        photometric=_photometric(given),
        data=tensor.payload,
        window=_window(given),
        rescale=_rescale(given),
        spacing=_spacing(given),
    )


def outputs_from_result(
    result: pb.Result, wanted: Iterable[Wanted]
) -> Mapping[str, Elements]:
    """Return the elements of each output that is asked for."""
    verdict = result.verdict
    findings = verdict.findings
    found: dict[str, Elements] = {
        "abnormal_probability": np.array([verdict.abnormal_probability]),
        "threshold": np.array([verdict.threshold]),
        "decision": np.array([verdict.decision]),
        "assessment": np.array([verdict.assessment]),
        "member_probabilities": np.array([m.probability for m in verdict.members]),
        "boxes": np.array(
            [[f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max] for f in findings]
        ),
        "scores": np.array([f.score for f in findings]),
        "classes": np.array([f.class_index for f in findings]),
        "class_names": [f.class_name.encode() for f in findings],
    }
    if any(output.spec.name == VERDICT for output in wanted):
        text = json_format.MessageToJson(
            result,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            indent=None,
        )
        found[VERDICT] = [text.encode()]
    return found


def _photometric(given: Mapping[str, Any]) -> Photometric:
    # perf_analyzer turns what it is given into lower case.
    told = given.get("photometric_interpretation", "").upper()
    if told not in list(Photometric):
        raise MalformedFrame(
            Reason.MALFORMED_RAW_IMAGE,
            "parameter photometric_interpretation must be MONOCHROME1 or MONOCHROME2",
        )
    return Photometric(told)


def _window(given: Mapping[str, Any]) -> Window | None:
    pair = _pair(given, "window_center", "window_width")
    function = given.get("voi_lut_function", VoiFunction.LINEAR).upper()
    if function not in list(VoiFunction):
        raise parameter_invalid("voi_lut_function: " + ", ".join(VoiFunction))
    if pair is None:
        if "voi_lut_function" in given:
            raise parameter_invalid(
                "voi_lut_function needs window_center and window_width"
            )
        return None
    return Window(center=pair[0], width=pair[1], function=VoiFunction(function))


def _rescale(given: Mapping[str, Any]) -> Rescale | None:
    pair = _pair(given, "rescale_slope", "rescale_intercept")
    return Rescale(slope=pair[0], intercept=pair[1]) if pair else None


def _spacing(given: Mapping[str, Any]) -> Spacing | None:
    pair = _pair(given, "row_spacing_mm", "column_spacing_mm")
    return Spacing(row_mm=pair[0], column_mm=pair[1]) if pair else None


def _pair(given: Mapping[str, Any], one: str, two: str) -> tuple[float, float] | None:
    if (one in given) != (two in given):
        raise parameter_invalid(f"{one} and {two} go together")
    return (given[one], given[two]) if one in given else None
