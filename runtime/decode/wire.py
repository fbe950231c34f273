"""What a decode worker and its parent say to each other.

Both directions are JSON, never pickle: the worker reads hostile files, and whoever
takes it over must not gain the parent. Pixels travel as file descriptors.
"""

from __future__ import annotations

import fcntl
import json
import math
import re
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.raw import is_valid_rescale, is_valid_window
from spinert.runtime.errors import (
    FrameRefused,
    FrameTooCostly,
    MalformedFrame,
    Reason,
    UnsupportedFrame,
)
from spinert.runtime.image import (
    Image,
    LookupTable,
    Note,
    Photometric,
    Rescale,
    Spacing,
    Stored,
    VoiFunction,
    Window,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "SEALS",
    "Take",
    "arrays_from_image",
    "image_from_message",
    "message_from_image",
    "message_from_refusal",
    "refusal_from_message",
    "settings_from_json",
    "settings_to_json",
]

MAX_MESSAGE_BYTES = 8192
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""Of the memory that carries an image to the parent."""
_DTYPES = {"uint8": np.uint8, "uint16": np.uint16, "int16": np.int16}
_CLASSES: dict[str, type[FrameRefused]] = {
    cls.__name__: cls
    for cls in (FrameRefused, FrameTooCostly, MalformedFrame, UnsupportedFrame)
}
_MAX_TEXT = 500
_UID = re.compile(r"[0-9.]{0,64}")


def settings_to_json(settings: DecodeSettings) -> str:
    """Write settings for the command line of a worker."""
    return json.dumps(asdict(settings))


def settings_from_json(text: str) -> DecodeSettings:
    """Read what `settings_to_json` wrote."""
    values = json.loads(text)
    values["accept_modalities"] = tuple(values["accept_modalities"])
    return DecodeSettings(**values)


def message_from_refusal(error: FrameRefused) -> dict[str, Any]:
    """Describe why a frame was refused."""
    return {
        "refused": type(error).__name__,
        "reason": error.reason.value,
        "text": error.message,
    }


def refusal_from_message(message: dict[str, Any]) -> FrameRefused:
    """Rebuild the error of a worker.

    Raises:
        Exception: Of any kind, if the message is not one of `message_from_refusal`.
    """
    return _CLASSES[message["refused"]](
        Reason(message["reason"]), str(message["text"])[:_MAX_TEXT]
    )


def arrays_from_image(image: Image) -> list[npt.NDArray[Any]]:
    """Return the bulk of `image`: its lookup tables, then its pixels."""
    return [*(table.entries for table in _tables(image).values()), image.pixels]


def _tables(image: Image) -> dict[str, LookupTable]:
    found: dict[str, LookupTable] = {}
    if isinstance(image.modality, LookupTable):
        found["modality_lut"] = image.modality
    if image.voi_lut is not None:
        found["voi_lut"] = image.voi_lut
    return found


def message_from_image(image: Image) -> dict[str, Any]:
    """Describe `image` except for the bulk that `arrays_from_image` returns."""
    message: dict[str, Any] = {
        "rows": image.pixels.shape[0],
        "columns": image.pixels.shape[1],
        "dtype": image.pixels.dtype.name,
        "bits_stored": image.bits_stored,
        "photometric": image.photometric.value,
        "is_display_ready": image.is_display_ready,
        "study_uid": image.study_uid,
        "notes": sorted(note.value for note in image.notes),
    }
    for name, table in _tables(image).items():
        message[name] = [table.first, table.bits, len(table.entries)]
    if isinstance(image.modality, Rescale):
        message["rescale"] = [image.modality.slope, image.modality.intercept]
    if image.window is not None:
        window = image.window
        message["window"] = [window.center, window.width, window.function.value]
    if image.spacing is not None:
        message["spacing"] = [image.spacing.row_mm, image.spacing.column_mm]
    return message


class Take(Protocol):
    """Hands out the bulk of an image, in the order of `arrays_from_image`."""

    def __call__(self, dtype: np.dtype[Any], n_items: int, *, is_pixels: bool) -> Any:
        """Return the next `n_items` items, read-only."""
        ...


def image_from_message(
    message: dict[str, Any], take: Take, limits: DecodeSettings
) -> Image:
    """Rebuild an image.

    Args:
        message: From `message_from_image`; not trusted.
        take: Where the arrays come from.
        limits: Those the worker was given: whoever took it over may not exceed them.

    Raises:
        Exception: Of any kind, if the message is not one of `message_from_image`.
    """
    tables = {
        name: _table(message[name], take)
        for name in ("modality_lut", "voi_lut")
        if name in message
    }
    low, high = limits.min_edge_px, limits.max_edge_px
    rows, columns = (_within(message[name], low, high) for name in ("rows", "columns"))
    dtype = np.dtype(_DTYPES[message["dtype"]])
    _within(rows * columns * dtype.itemsize, 1, limits.max_pixel_mib * 2**20)
    pixels: Stored = take(dtype, rows * columns, is_pixels=True)
    return Image(
        pixels=pixels.reshape(rows, columns),
        bits_stored=_within(message["bits_stored"], 1, 16),
        photometric=Photometric(message["photometric"]),
        is_display_ready=message["is_display_ready"] is True,
        modality=tables.get("modality_lut") or _rescale(message.get("rescale")),
        voi_lut=tables.get("voi_lut"),
        window=_window(message.get("window")),
        spacing=_spacing(message.get("spacing")),
        study_uid=_uid(message["study_uid"]),
        notes=frozenset(Note(value) for value in message["notes"]),
    )


def _table(header: list[int], take: Take) -> LookupTable:
    first, bits, n_entries = header
    n_entries = _within(n_entries, 1, 2**16)
    entries = take(np.dtype(np.uint16), n_entries, is_pixels=False)
    return LookupTable(
        first=_within(first, -(2**16), 2**16),
        bits=_within(bits, 8, 16),
        entries=entries,
    )


def _window(values: list[Any] | None) -> Window | None:
    if values is None:
        return None
    window = Window(
        center=_finite(values[0]),
        width=_finite(values[1]),
        function=VoiFunction(values[2]),
    )
    if not is_valid_window(window):
        raise ValueError("not a window")
    return window


def _spacing(values: list[float] | None) -> Spacing | None:
    if values is None:
        return None
    row_mm, column_mm = (_finite(value) for value in values)
    if min(row_mm, column_mm) <= 0:
        raise ValueError("not a spacing")
    return Spacing(row_mm=row_mm, column_mm=column_mm)


def _uid(text: str) -> str:
    # Also keeps lone surrogates out, which JSON can hold and no reply can.
    if not _UID.fullmatch(text):
        raise ValueError("not a UID")
    return text


def _rescale(values: list[float] | None) -> Rescale | None:
    if values is None:
        return None
    rescale = Rescale(slope=_finite(values[0]), intercept=_finite(values[1]))
    if not is_valid_rescale(rescale):
        raise ValueError("not a rescale")
    return rescale


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _within(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError("number out of range")
    return int(value)
