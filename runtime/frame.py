"""A frame as it arrives: bytes, what they claim to be, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any, Protocol

import numpy.typing as npt

from spinert.runtime.image import Photometric, Rescale, Spacing, Window
from spinert.runtime.verdict import NetworkRun, Output, Receipt, Verdict

__all__ = [
    "Answer",
    "Buffer",
    "Content",
    "DicomFrame",
    "EncodedFrame",
    "FrameRequest",
    "Lent",
    "Payload",
    "Priority",
    "RawFrame",
    "TensorFrame",
    "bytes_of",
    "size_of",
]

Buffer = bytes | memoryview


class Lent(Protocol):
    """Bytes that lie elsewhere until somebody needs them."""

    @property
    def nbytes(self) -> int:
        """How many they are."""
        ...

    def fetch(self) -> Buffer:
        """Return them: the same bytes every time, whatever their owner writes.

        Raises:
            SpinertError: They are gone.
        """
        ...


Payload = Buffer | Lent


def bytes_of(payload: Payload) -> Buffer:
    """Return the bytes of `payload`, on the thread that needs them.

    Raises:
        SpinertError: They were lent, and are gone.
    """
    return payload if isinstance(payload, bytes | memoryview) else payload.fetch()


def size_of(payload: Payload) -> int:
    """Return how many bytes `payload` has, without touching them."""
    return len(payload) if isinstance(payload, bytes) else payload.nbytes


@unique
class Priority(IntEnum):
    """Higher leaves every queue first; values as on the wire."""

    ROUTINE = 1
    STAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFrame:
    """A DICOM Part 10 file."""

    data: Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedFrame:
    """A PNG or JPEG file."""

    data: Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFrame:
    """Stored values: 1 byte a pixel up to 8 bits, else 2, little endian."""

    rows: int
    columns: int
    bits_stored: int
    is_signed: bool
    photometric: Photometric
    data: Payload
    window: Window | None = None
    rescale: Rescale | None = None
    spacing: Spacing | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TensorFrame:
    """What one network is to see of one image, made by somebody else."""

    network: str
    """Role."""
    pixels: npt.NDArray[Any]
    """(C, H, W), C-contiguous, as the graph takes it; must not change any more."""
    valid_height: int
    valid_width: int
    """The rest of the canvas is fill."""

    @property
    def data(self) -> memoryview:
        """View the bytes of the pixels."""
        return self.pixels.data


Content = DicomFrame | EncodedFrame | RawFrame | TensorFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRequest:
    """One frame to analyse. Times are of the monotonic clock."""

    content: Content
    arrived_s: float
    deadline_s: float | None = None
    device: str = ""
    priority: Priority = Priority.ROUTINE
    outputs: frozenset[Output] = frozenset({Output.CLASSIFICATION, Output.FINDINGS})
    live_view: str = ""
    """Of a live view, its name: while a frame of this name is on its way to a network,
    this one waits, and the next supersedes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a frame becomes. `study_uid` is for the reply only: never log it."""

    verdict: Verdict
    receipt: Receipt
    input_sha256: str
    study_uid: str = ""
    runs: tuple[NetworkRun, ...] = ()
    """By network, in alphabetical order; none: no network was needed."""
