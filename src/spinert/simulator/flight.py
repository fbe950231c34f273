"""What moves in a simulation: frames, batches, and where they wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from spinert.runtime.engine.costs import UNKNOWN_COSTS, CostModel, Costs
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.line import WaitingLine
from spinert.runtime.engine.ticket import Ticket
from spinert.runtime.frame import FrameRequest

__all__ = ["Accelerator", "Batch", "Frame", "Preparation", "Prepared", "Waiting"]


@dataclass(eq=False, kw_only=True, slots=True)
class Frame:
    """One frame in flight."""

    request: FrameRequest
    device: int
    size: tuple[int, int]
    accelerator: int
    is_counted: bool
    is_in: bool = False
    has_begun: bool = False
    """With a network."""
    ticket: Ticket | None = None
    waits_in: Waiting | None = None


@dataclass(eq=False, kw_only=True, slots=True)
class Waiting:
    """A queue, as the engine has one before each stage."""

    line: WaitingLine
    frames: dict[int, Frame] = field(default_factory=dict)

    def put(self, frame: Frame, ticket: Ticket) -> None:
        """Queue a frame."""
        frame.ticket, frame.waits_in = ticket, self
        self.line.put(ticket)
        self.frames[ticket.order] = frame

    def taken(self, tickets: Sequence[Ticket]) -> list[Frame]:
        """Return the frames of tickets that the line has given away."""
        frames = [self.frames.pop(ticket.order) for ticket in tickets]
        for frame in frames:
            frame.waits_in = None
        return frames

    def withdraw(self, frame: Frame) -> None:
        """Forget a frame that waits here."""
        if frame.ticket is not None:
            self.line.withdraw(frame.ticket)
            self.taken([frame.ticket])


@dataclass(eq=False, kw_only=True, slots=True)
class Accelerator:
    """One executor: a queue, and whether it runs a batch."""

    queue: Waiting
    model: CostModel = field(default_factory=CostModel)
    has_prediction: bool
    is_busy: bool = False
    until_s: float = 0.0
    """When its batch is expected to end."""
    to_come: int = 0
    """Frames in flight that it has not begun with."""
    wakes_s: float = math.inf

    def costs(self, _: str = "") -> Costs:
        """Return what it knows, or is made to believe."""
        return self.model.costs if self.has_prediction else UNKNOWN_COSTS

    def expected_s(self, frames: int) -> float:
        """Return what a batch is expected to take; 0 while that is unknown."""
        costs = self.costs()
        cost = costs.of(costs.usual, frames) if costs.usual else None
        return cost.typical_s if cost else 0.0


@dataclass(eq=False, kw_only=True, slots=True)
class Preparation:
    """The stage before: a queue, and workers that take one frame each."""

    queue: Waiting
    durations: Durations
    has_prediction: bool
    busy: int = 0

    def costs(self, kind: str) -> Costs:
        """Return what it knows, or is made to believe."""
        return self.durations.costs(kind) if self.has_prediction else UNKNOWN_COSTS


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """A batch that runs."""

    size: tuple[int, int]
    frames: Sequence[Frame]
    start_s: float
    ended: Callable[[], None]
    """Tells admission."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """A frame that a worker prepares."""

    frame: Frame
    start_s: float
    ended: Callable[[], None]
    """Tells admission."""
