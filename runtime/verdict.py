"""The answer for a frame, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from spinert.runtime.image import Note

__all__ = [
    "Assessment",
    "BatchRecord",
    "Box",
    "Decision",
    "Finding",
    "Member",
    "NetworkRun",
    "Output",
    "Receipt",
    "ReleaseReason",
    "Stage",
    "Verdict",
]


@unique
class Decision(Enum):
    """Values as on the wire."""

    UNSPECIFIED = 0
    NORMAL = 1
    ABNORMAL = 2


@unique
class Assessment(Enum):
    """Values as on the wire."""

    UNSPECIFIED = 0
    NORMAL = 1
    ABNORMAL = 2
    UNCERTAIN = 3


@unique
class Output(Enum):
    """Parts of an answer that cost work or bytes; values as on the wire."""

    CLASSIFICATION = 1
    FINDINGS = 2
    SUPPRESSED = 3


@unique
class ReleaseReason(Enum):
    """Why a batch left the queue; values as on the wire."""

    FULL = 1
    DELAY = 2
    DRAIN = 3
    DEADLINE = 4
    NO_GAIN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Original pixels (or mm), x right, y down, origin at the image's corner."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """What one member of the ensemble says."""

    name: str
    logit: float
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One lesion box; `class_index` points into the bundle's classes."""

    class_index: int
    score: float
    box: Box
    box_mm: Box | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The fused answer for a frame. Parts not asked for are empty."""

    abnormal_probability: float
    members: tuple[Member, ...]
    decision: Decision
    threshold: float
    assessment: Assessment
    findings: tuple[Finding, ...]
    suppressed: tuple[Finding, ...]
    notes: frozenset[Note]
    reverse_fusion_score: float | None
    rows: int
    columns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Time in one stage, on the monotonic clock, in seconds after arrival."""

    name: str
    start_s: float
    duration_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRecord:
    """The batch a network ran this frame in."""

    network: str
    size: int
    slot: int
    height: int
    width: int
    reason: ReleaseReason


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkRun:
    """What ran one network on one frame."""

    network: str
    backend: str
    """Name and version."""
    precision: str
    engine_key: str = ""
    """Empty: no engine is compiled."""
    is_degraded: bool = False
    """The backend stood in for the configured one."""
    is_recomputed: bool = False
    """The network's iteration did not settle; its split graphs answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Where the time of one frame went."""

    stages: tuple[Stage, ...]
    batches: tuple[BatchRecord, ...]
    total_s: float
