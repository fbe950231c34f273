"""Frames to send: an image in one of three forms, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spinert.proto import inference_pb2 as pb
from spinert.runtime.file_kind import FILE_HEAD_BYTES, FileKind, file_kind_of
from spinert.runtime.frame import Buffer, Priority
from spinert.runtime.image import Photometric, Rescale, Spacing, Window
from spinert.runtime.verdict import Output

__all__ = ["Frame", "FrameOptions", "PixelFormat"]

_CONTENT_FIELDS = {
    pb.Frame.DICOM_FIELD_NUMBER,
    pb.Frame.RAW_FIELD_NUMBER,
    pb.Frame.ENCODED_FIELD_NUMBER,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameOptions:
    """What is wanted of a frame, and what it belongs to."""

    frame_id: str = ""
    """At most 128 bytes, echoed in the answer. Empty: the client numbers it."""
    study_uid: str = ""
    """Frames of one study also get a study verdict. Empty: the DICOM file's."""
    series_uid: str = ""
    priority: Priority | None = None
    """None: that of the stream; without one, ROUTINE."""
    outputs: frozenset[Output] = frozenset({Output.CLASSIFICATION, Output.FINDINGS})
    timeout_ms: int = 0
    """Time the frame may take after it has reached the server; 0: no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelFormat:
    """What the numbers of an array mean; names as in DICOM."""

    bits_stored: int
    """(0028,0101): 1 to 8 for 8-bit arrays, 9 to 16 for 16-bit ones."""
    photometric: Photometric = Photometric.MONOCHROME2
    window: Window | None = None
    rescale: Rescale | None = None
    spacing: Spacing | None = None


_DEFAULTS = FrameOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """An image to analyse; make one with a `from_` constructor.

    The payload is referred to, not copied: leave it unchanged until the answer.
    """

    payload: Buffer = field(repr=False)
    content_field: int
    """Number of the field of spinert.v1.Frame that holds the payload."""
    raw: pb.RawImage | None = field(default=None, repr=False)
    """Of raw pixels: everything but the pixels."""
    options: FrameOptions = _DEFAULTS
    shared: pb.SharedBytes | None = field(default=None, repr=False)
    """Where the payload lies instead; a client with shared memory sets it."""

    def __post_init__(self) -> None:
        """Reject a content that the wire does not have."""
        is_raw = self.content_field == pb.Frame.RAW_FIELD_NUMBER
        if self.content_field not in _CONTENT_FIELDS or is_raw != bool(self.raw):
            raise ValueError("make frames with Frame.from_path, from_dicom, ...")

    @classmethod
    def from_path(cls, path: Path | str, options: FrameOptions = _DEFAULTS) -> Frame:
        """Read a file and take its bytes as `from_bytes` does.

        Raises:
            OSError: The file cannot be read.
        """
        return cls.from_bytes(Path(path).read_bytes(), options)

    @classmethod
    def from_bytes(cls, data: bytes, options: FrameOptions = _DEFAULTS) -> Frame:
        """Take the bytes of a file: PNG and JPEG are known by how they begin.

        Anything else is sent as DICOM; whether it is, is for the server to say.
        """
        kind = file_kind_of(data[:FILE_HEAD_BYTES])
        if kind in (FileKind.PNG, FileKind.JPEG):
            return cls.from_encoded(data, options)
        return cls.from_dicom(data, options)

    @classmethod
    def from_dicom(cls, data: Buffer, options: FrameOptions = _DEFAULTS) -> Frame:
        """Take the bytes of a DICOM Part 10 file."""
        return cls(
            payload=data, content_field=pb.Frame.DICOM_FIELD_NUMBER, options=options
        )

    @classmethod
    def from_encoded(cls, data: Buffer, options: FrameOptions = _DEFAULTS) -> Frame:
        """Take the bytes of a PNG or JPEG file."""
        return cls(
            payload=data, content_field=pb.Frame.ENCODED_FIELD_NUMBER, options=options
        )

    @classmethod
    def from_array(
        cls,
        pixels: npt.NDArray[np.generic],
        pixel_format: PixelFormat,
        options: FrameOptions = _DEFAULTS,
    ) -> Frame:
        """Take stored values.

        Args:
            pixels: [rows, columns], uint8, int8, uint16 or int16.
            pixel_format: What they mean.
            options: What is wanted.

        Raises:
            ValueError: Shape, type and bits do not go together.
        """
        bits, width = pixel_format.bits_stored, pixels.dtype.itemsize
        fits = 1 <= bits <= 8 if width == 1 else width == 2 and 9 <= bits <= 16
        if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or not fits:
            raise ValueError(
                "pixels must be [rows, columns] of 8-bit integers with bits_stored "
                "1 to 8, or of 16-bit integers with bits_stored 9 to 16"
            )
        raw = _raw_image(pixel_format)
        raw.rows, raw.columns = pixels.shape
        raw.is_signed = pixels.dtype.kind == "i"
        little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
        return cls(
            payload=np.ascontiguousarray(little).data.cast("B"),
            content_field=pb.Frame.RAW_FIELD_NUMBER,
            raw=raw,
            options=options,
        )


def _raw_image(pixel_format: PixelFormat) -> pb.RawImage:
    window, rescale = pixel_format.window, pixel_format.rescale
    spacing = pixel_format.spacing
    return pb.RawImage(
        bits_stored=pixel_format.bits_stored,
        photometric_interpretation=pixel_format.photometric.value,
        window=None
        if window is None
        else pb.Window(
            window_center=window.center,
            window_width=window.width,
            function=window.function.value,
        ),
        rescale=None
        if rescale is None
        else pb.Rescale(slope=rescale.slope, intercept=rescale.intercept),
        spacing=None
        if spacing is None
        else pb.Spacing(row_mm=spacing.row_mm, column_mm=spacing.column_mm),
    )
