"""Frames to measure with: phantoms in several sizes and transfer syntaxes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from spinert.phantom.dicom import PhantomKey, dicom_from_phantom
from spinert.phantom.making import phantom_from_seed
from spinert.phantom.truth import Phantom
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Frame, FrameOptions, PixelFormat, Window
from spinert.runtime.frame import Content, DicomFrame, RawFrame
from spinert.runtime.image import Photometric

__all__ = [
    "RAW",
    "SYNTAXES",
    "FramePlan",
    "LoadFrame",
    "frame_from_wire",
    "frames_from_plan",
    "named",
    "wire_from_frame",
]

RAW: Final = "raw"
_UNCOMPRESSED: Final = "uncompressed"
SYNTAXES: Final = (RAW, _UNCOMPRESSED, "jpeg-lossless", "jpeg-ls", "j2k", "rle")
"""Raw pixels, or a DICOM file that holds them in one of these ways."""


@dataclass(frozen=True, kw_only=True)
class LoadFrame:
    """One frame, as a client sends it and as the engine takes it."""

    frame: Frame = field(repr=False)
    content: Content = field(repr=False)
    rows: int
    columns: int
    syntax: str
    """One of SYNTAXES."""

    @property
    def size_bytes(self) -> int:
        """Return the bytes of the image as they are sent."""
        return len(self.frame.payload)

    def described(self) -> dict[str, Any]:
        """Return JSON values for a report."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "syntax": self.syntax,
            "bytes": self.size_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class FramePlan:
    """Which frames; the same plan makes the same ones."""

    syntaxes: tuple[str, ...] = SYNTAXES
    long_edges_px: tuple[int, ...] = (1000, 2000)
    """Each with each syntax."""
    seed: int = 0


def frames_from_plan(plan: FramePlan) -> tuple[LoadFrame, ...]:
    """Draw and encode the frames of a plan.

    Raises:
        CompressionError: An encoder is missing; the message names its package.
    """
    frames: list[LoadFrame] = []
    for index, edge in enumerate(plan.long_edges_px):
        key = PhantomKey(seed=plan.seed, index=index, long_edge_px=edge)
        phantom = phantom_from_seed(plan.seed, index, long_edge_px=edge)
        frames += [_load_frame(phantom, key, syntax) for syntax in plan.syntaxes]
    return tuple(frames)


def named(frame: Frame, frame_id: str) -> Frame:
    """Return a frame under a name of its own; the payload is shared."""
    return replace(frame, options=FrameOptions(frame_id=frame_id))


def wire_from_frame(frame: Frame) -> bytes:
    """Return a frame as bytes for another process; `frame_from_wire` reads them."""
    if frame.raw is None:
        return pb.Frame(dicom=bytes(frame.payload)).SerializeToString()
    raw = pb.RawImage()
    raw.CopyFrom(frame.raw)
    raw.pixels = bytes(frame.payload)
    return pb.Frame(raw=raw).SerializeToString()


def frame_from_wire(data: bytes) -> Frame:
    """Read what `wire_from_frame` wrote."""
    message = pb.Frame.FromString(data)
    if message.WhichOneof("content") == "dicom":
        return Frame.from_dicom(message.dicom)
    pixels = message.raw.pixels
    message.raw.ClearField("pixels")
    return Frame(
        payload=pixels, content_field=pb.Frame.RAW_FIELD_NUMBER, raw=message.raw
    )


def _load_frame(phantom: Phantom, key: PhantomKey, syntax: str) -> LoadFrame:
    rows, columns = phantom.pixels.shape
    if syntax == RAW:
        frame, content = _raw(phantom)
    else:
        compression = None if syntax == _UNCOMPRESSED else syntax
        data = dicom_from_phantom(phantom, key, compression=compression)
        frame, content = Frame.from_dicom(data), DicomFrame(data=data)
    return LoadFrame(
        frame=frame, content=content, rows=rows, columns=columns, syntax=syntax
    )


def _raw(phantom: Phantom) -> tuple[Frame, Content]:
    stated = phantom.window
    window = None
    if stated is not None:
        window = Window(center=stated.center, width=stated.width)
    photometric = Photometric(phantom.photometric)
    pixel_format = PixelFormat(
        bits_stored=phantom.bits_stored, photometric=photometric, window=window
    )
    frame = Frame.from_array(phantom.pixels, pixel_format)
    rows, columns = phantom.pixels.shape
    content = RawFrame(
        rows=rows,
        columns=columns,
        bits_stored=phantom.bits_stored,
        is_signed=False,
        photometric=photometric,
        data=frame.payload,
        window=window,
    )
    return frame, content
