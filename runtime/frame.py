"""A frame as it arrives: bytes, what they claim to be, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

from spinert.runtime.image import Photometric, Rescale, Spacing, Window
from spinert.runtime.verdict import NetworkRun, Output, Receipt, Verdict

__all__ = [
    "Answer",
    "Buffer",
    "Content",
    "DicomFrame",
    "EncodedFrame",
    "FrameRequest",
    "Priority",
    "RawFrame",
]

Buffer = bytes | memoryview


@unique
class Priority(IntEnum):
    """Higher leaves every queue first; values as on the wire."""

    ROUTINE = 1
    STAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFrame:
    """A DICOM Part 10 file."""

    data: Buffer


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedFrame:
    """A PNG or JPEG file."""

    data: Buffer


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFrame:
    """Stored values: 1 byte a pixel up to 8 bits, else 2, little endian."""

    rows: int
    columns: int
    bits_stored: int
    is_signed: bool
    photometric: Photometric
    data: Buffer
    window: Window | None = None
    rescale: Rescale | None = None
    spacing: Spacing | None = None


Content = DicomFrame | EncodedFrame | RawFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRequest:
    """One frame to analyse. Times are of the monotonic clock."""

    content: Content
    arrived_s: float
    deadline_s: float | None = None
    device: str = ""
    priority: Priority = Priority.ROUTINE
    outputs: frozenset[Output] = frozenset({Output.CLASSIFICATION, Output.FINDINGS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a frame becomes. `study_uid` is for the reply only: never log it."""

    verdict: Verdict
    receipt: Receipt
    input_sha256: str
    study_uid: str = ""
    runs: tuple[NetworkRun, ...] = ()
    """By network, in alphabetical order; none: no network was needed."""
