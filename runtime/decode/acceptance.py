"""Which DICOM images this server analyses at all."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.attributes import integer, text
from spinert.runtime.errors import Reason, UnsupportedFrame
from spinert.runtime.image import Photometric

__all__ = ["refuse_unaccepted"]

_PROJECTION_MODALITIES = frozenset({"CR", "DX", "RF", "XA"})
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
"""Digital X-Ray Image Storage - For Processing."""
_PROJECTION_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray - For Presentation
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
        "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic
        "1.2.840.10008.5.1.4.1.1.12.2",  # X-Ray Radiofluoroscopic
    }
)
_CODE = re.compile(r"[A-Z0-9_]{1,16}")


def refuse_unaccepted(dataset: Dataset, settings: DecodeSettings) -> None:
    """Refuse everything but single grey projection images for presentation.

    Raises:
        UnsupportedFrame: COLOUR_IMAGE, MULTI_FRAME, MODALITY_NOT_ACCEPTED,
            SOP_CLASS_NOT_ACCEPTED or FOR_PROCESSING.
        MalformedFrame: MALFORMED_DICOM, an attribute needed here cannot be read.
    """
    photometric = text(dataset, "PhotometricInterpretation")
    is_grey = photometric in Photometric.__members__
    if integer(dataset, "SamplesPerPixel", 1) != 1 or not is_grey:
        raise UnsupportedFrame(
            Reason.COLOUR_IMAGE,
            "only grey images are analysed: Samples per Pixel 1, Photometric "
            "Interpretation MONOCHROME1 or MONOCHROME2",
        )
    if integer(dataset, "NumberOfFrames", 1) != 1:
        raise UnsupportedFrame(
            Reason.MULTI_FRAME, "the file holds several frames; send them one by one"
        )
    _refuse_modality(text(dataset, "Modality"), settings)
    _refuse_kind(dataset)


def _refuse_modality(modality: str, settings: DecodeSettings) -> None:
    if modality not in settings.accept_modalities:
        shown = modality if _CODE.fullmatch(modality) else "(none)"
        raise UnsupportedFrame(
            Reason.MODALITY_NOT_ACCEPTED,
            f"Modality {shown} is not analysed; this server takes "
            f"{', '.join(settings.accept_modalities)} (decode.accept_modalities)",
        )


def _refuse_kind(dataset: Dataset) -> None:
    sop_class = text(dataset, "SOPClassUID")
    intent = text(dataset, "PresentationIntentType")
    if sop_class == _FOR_PROCESSING or intent == "FOR PROCESSING":
        raise UnsupportedFrame(
            Reason.FOR_PROCESSING,
            "the image is meant for processing; send the one for presentation",
        )
    # Modalities that an operator added bring storage classes of their own.
    is_projection = text(dataset, "Modality") in _PROJECTION_MODALITIES
    if is_projection and sop_class and sop_class not in _PROJECTION_CLASSES:
        raise UnsupportedFrame(
            Reason.SOP_CLASS_NOT_ACCEPTED,
            "the SOP Class is not that of a single projection radiograph",
        )
