"""What a DICOM file says, read before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode import display
from spinert.runtime.decode.attributes import dataset_from_elements, integer, tags
from spinert.runtime.decode.gate import PixelLayout, refuse_costly
from spinert.runtime.decode.part10 import Inflater, transfer_syntax_from_file
from spinert.runtime.decode.scan import (
    PIXEL_DATA,
    UNDEFINED,
    Element,
    Limits,
    elements_of_data_set,
    elements_of_first_item,
)
from spinert.runtime.decode.transfer_syntax import TransferSyntax
from spinert.runtime.errors import (
    FrameTooCostly,
    MalformedFrame,
    Reason,
    UnsupportedFrame,
)
from spinert.runtime.frame import Buffer
from spinert.runtime.image import LookupTable

__all__ = ["DicomFile", "dicom_file"]

_ATTRIBUTES = tags(
    "SOPClassUID",
    "Modality",
    "PresentationIntentType",
    "BodyPartExamined",
    "ImagerPixelSpacing",
    "StudyInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "PixelAspectRatio",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "WindowCenter",
    "WindowWidth",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTFunction",
    "LossyImageCompression",
)
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_LUT_ATTRIBUTES = tags("LUTDescriptor", "LUTData")
_MAX_HEAD_BYTES = 4 * 2**20
"""Of a deflated data set before its pixel data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFile:
    """What is known of a file before any pixel is decoded."""

    syntax: TransferSyntax
    dataset: Dataset
    """Only the attributes the runtime uses."""
    layout: PixelLayout
    pixels: Element
    body: memoryview
    """The data set; of a deflated one, the part inflated so far."""
    inflater: Inflater | None
    modality_lut: LookupTable | None
    voi_lut: LookupTable | None


def dicom_file(data: Buffer, settings: DecodeSettings) -> DicomFile:
    """Read the structure and attributes of a file; no pixel is decoded.

    Raises:
        FrameRefused: The file is damaged or too costly to decode.
    """
    if not data:
        raise MalformedFrame(Reason.EMPTY_FRAME, "the frame has no bytes")
    view = memoryview(data)
    syntax, start = transfer_syntax_from_file(view)
    limits = Limits(elements=settings.max_elements, nesting=settings.max_nesting)
    inflater = Inflater(view[start:]) if syntax.is_deflated else None
    body = (
        view[start:] if inflater is None else memoryview(inflater.read(_MAX_HEAD_BYTES))
    )
    elements = _elements(body, syntax, limits, inflater)
    pixels = elements.pop(PIXEL_DATA)
    luts = {tag: elements.pop(tag, None) for tag in (_MODALITY_LUT, _VOI_LUT)}
    _refuse_huge(pixels, settings)
    dataset = dataset_from_elements(body, elements)
    layout = _layout(dataset)
    refuse_costly(layout, settings)
    return DicomFile(
        syntax=syntax,
        dataset=dataset,
        layout=layout,
        pixels=pixels,
        body=body,
        inflater=inflater,
        modality_lut=_lookup_table(body, luts[_MODALITY_LUT], dataset, limits),
        voi_lut=_lookup_table(body, luts[_VOI_LUT], dataset, limits),
    )


def _elements(
    body: memoryview, syntax: TransferSyntax, limits: Limits, inflater: Inflater | None
) -> dict[int, Element]:
    wanted = _ATTRIBUTES | {_MODALITY_LUT, _VOI_LUT}
    try:
        elements = elements_of_data_set(body, syntax.encoding, wanted, limits)
    except MalformedFrame:
        if inflater is None or not inflater.has_more:
            raise
        raise FrameTooCostly(
            Reason.DECOMPRESSION_BOMB,
            f"no pixel data within the first {_MAX_HEAD_BYTES >> 20} MiB of the "
            "inflated data set",
        ) from None
    if PIXEL_DATA not in elements:
        raise MalformedFrame(
            Reason.PIXEL_DATA_MISSING, "the DICOM file has no Pixel Data (7FE0,0010)"
        )
    return elements


def _refuse_huge(pixels: Element, settings: DecodeSettings) -> None:
    if UNDEFINED != pixels.length > settings.max_pixel_mib * 2**20:
        raise FrameTooCostly(
            Reason.DECOMPRESSION_BOMB,
            f"the pixel data claim {pixels.length >> 20} MiB; this server decodes up "
            f"to {settings.max_pixel_mib} MiB (decode.max_pixel_mib)",
        )


def _layout(dataset: Dataset) -> PixelLayout:
    layout = PixelLayout(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        bits_allocated=integer(dataset, "BitsAllocated"),
        bits_stored=integer(dataset, "BitsStored"),
        is_signed=integer(dataset, "PixelRepresentation", 0) == 1,
    )
    high_bit = integer(dataset, "HighBit", layout.bits_stored - 1)
    fits = 1 <= layout.bits_stored <= layout.bits_allocated
    if layout.bits_allocated not in (8, 16) or not fits:
        raise UnsupportedFrame(
            Reason.BITS_UNSUPPORTED,
            "only Bits Allocated 8 or 16 with as many Bits Stored or fewer are read",
        )
    if high_bit != layout.bits_stored - 1:
        raise UnsupportedFrame(
            Reason.BITS_UNSUPPORTED, "High Bit must be one less than Bits Stored"
        )
    return layout


def _lookup_table(
    body: memoryview, sequence: Element | None, dataset: Dataset, limits: Limits
) -> LookupTable | None:
    if sequence is None:
        return None
    elements = elements_of_first_item(body, sequence, _LUT_ATTRIBUTES, limits)
    item = dataset_from_elements(body, elements)
    # The type of LUT Descriptor depends on it in implicit VR, PS3.3 C.11.1.1.1.
    item.PixelRepresentation = integer(dataset, "PixelRepresentation", 0)
    order = sequence.encoding.is_little_endian
    return display.lookup_table(item, is_little_endian=order)
