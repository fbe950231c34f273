"""What the attributes of a DICOM image say about showing and measuring it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from spinert.runtime.decode.attributes import (
    malformed,
    number,
    number_pair,
    optional_text,
    text,
)
from spinert.runtime.decode.raw import is_valid_rescale, is_valid_window
from spinert.runtime.decode.stored import spacing_notes
from spinert.runtime.decode.transfer_syntax import Loss
from spinert.runtime.image import (
    LookupTable,
    Note,
    Rescale,
    Spacing,
    VoiFunction,
    Window,
)

__all__ = ["lookup_table", "notes", "rescale", "spacing", "study_uid", "window"]

_UID = re.compile(r"[0-9.]{1,64}")
_NOT_SPINE = frozenset(
    {
        "ABDOMEN",
        "ANKLE",
        "ARM",
        "BREAST",
        "CALCANEUS",
        "CHEST",
        "CLAVICLE",
        "EAR",
        "ELBOW",
        "EXTREMITY",
        "EYE",
        "FEMUR",
        "FINGER",
        "FOOT",
        "FOREARM",
        "HAND",
        "HEAD",
        "HEART",
        "HIP",
        "HUMERUS",
        "JAW",
        "KNEE",
        "LEG",
        "MANDIBLE",
        "NOSE",
        "ORBIT",
        "PATELLA",
        "PELVIS",
        "RIB",
        "SCAPULA",
        "SHOULDER",
        "SKULL",
        "STERNUM",
        "THIGH",
        "THUMB",
        "TIBIA",
        "TOE",
        "WRIST",
        "ZYGOMA",
    }
)
"""Defined terms of PS3.16 annex L that name another part; any other says nothing."""


def lookup_table(item: Dataset, *, is_little_endian: bool) -> LookupTable | None:
    """Read an item of a Modality or VOI LUT Sequence, PS3.3 C.11.1.1.1.

    Returns:
        None where descriptor or data are absent; pydicom ignores such an item too.

    Raises:
        MalformedFrame: MALFORMED_DICOM.
    """
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or data is None:
        return None
    values = [int(value) for value in descriptor]
    if len(values) != 3 or not 8 <= values[2] <= 16:
        raise malformed("LUT Descriptor is not of the form entries, first, 8 to 16")
    # 0 stands for 65,536: the count does not fit its 16 bits.
    n_entries = values[0] or 2**16
    entries = _entries(data, n_entries, values[2], is_little_endian)
    if len(entries) != n_entries or entries.max() >> max(values[2], 8) > 0:
        raise malformed("LUT Data does not fit its LUT Descriptor")
    return LookupTable(first=values[1], bits=values[2], entries=entries)


def _entries(
    data: Any, n_entries: int, bits: int, is_little_endian: bool
) -> npt.NDArray[np.uint16]:
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if bits == 8 and len(data) in (n_entries, n_entries + 1):
        # 8-bit entries may be packed two to a word, PS3.3 C.11.1.1.1.
        return np.frombuffer(data, np.uint8)[:n_entries].astype(np.uint16)
    word = np.dtype("<u2" if is_little_endian else ">u2")
    return np.frombuffer(data, word).astype(np.uint16)


def rescale(dataset: Dataset) -> Rescale | None:
    """Read Rescale Slope and Intercept; None unless both are there.

    Raises:
        MalformedFrame: MALFORMED_DICOM, not numbers or a slope of 0.
    """
    slope, intercept = (
        number(dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    if slope is None or intercept is None:
        return None
    found = Rescale(slope=slope, intercept=intercept)
    if not is_valid_rescale(found):
        raise malformed("RescaleSlope is 0, or Rescale values are beyond 1e100")
    return found


def window(dataset: Dataset) -> Window | None:
    """Read the first window, PS3.3 C.11.2.1.2; None unless centre and width exist.

    Raises:
        MalformedFrame: MALFORMED_DICOM, also for a width or function without meaning:
            it would decide what the networks see.
    """
    center, width = (
        number(dataset, keyword) for keyword in ("WindowCenter", "WindowWidth")
    )
    if center is None or width is None:
        return None
    name = text(dataset, "VOILUTFunction") or VoiFunction.LINEAR.value
    if name not in VoiFunction.__members__:
        raise malformed("VOILUTFunction is unknown")
    found = Window(center=center, width=width, function=VoiFunction(name))
    if not is_valid_window(found):
        raise malformed("WindowWidth must be at least 1 (LINEAR) or above 0")
    return found


def spacing(dataset: Dataset) -> Spacing | None:
    """Read Pixel Spacing, else Imager Pixel Spacing, PS3.3 10.7.1.1 and C.8.11.4."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        pair = number_pair(dataset, keyword)
        if pair is not None:
            return Spacing(row_mm=pair[0], column_mm=pair[1])
    return None


def study_uid(dataset: Dataset) -> str:
    """Read Study Instance UID; empty where there is no valid one."""
    uid = optional_text(dataset, "StudyInstanceUID")
    return uid if _UID.fullmatch(uid) else ""


def notes(dataset: Dataset, size: Spacing | None, loss: Loss) -> frozenset[Note]:
    """Collect what limits the use of the image."""
    found = set(spacing_notes(size))
    aspect = number_pair(dataset, "PixelAspectRatio")
    if size is None and aspect is not None and aspect[0] != aspect[1]:
        found.add(Note.SPACING_NOT_SQUARE)
    if optional_text(dataset, "BodyPartExamined") in _NOT_SPINE:
        found.add(Note.UNEXPECTED_BODY_PART)
    declared = optional_text(dataset, "LossyImageCompression")
    # A syntax that allows loss counts as lossy unless the file denies it.
    possible = loss is Loss.POSSIBLE and declared != "00"
    if loss is Loss.ALWAYS or possible or declared == "01":
        found.add(Note.LOSSY_COMPRESSION)
    return frozenset(found)
