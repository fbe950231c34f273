"""When a batch leaves a queue and who is in it: pure functions of frozen data.

Frames are batched with frames of exactly equal padded size only, so that an answer
never depends on the size of a batch mate. `ticket` has the order of those of one size,
and of all sizes that are due the one with the first frame goes first.

A batch leaves when it is full, when its oldest frame has waited long enough, when the
earliest deadline in it leaves just the time that a batch of this size takes, or at
once where a larger batch is not known to take less time per frame: under load company
gathers while the network runs, and shows what it is worth. A batch is never so large
that a frame in it would be late which alone would not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spinert.runtime.engine.costs import Costs, Size
from spinert.runtime.engine.ticket import BatchRules, Ticket
from spinert.runtime.verdict import ReleaseReason

__all__ = [
    "Group",
    "Idle",
    "Release",
    "Step",
    "WaitUntil",
    "can_be_met",
    "due_at_s",
    "due_reason",
    "fitting",
    "is_doomed",
    "released",
    "with_rivals",
]

_TRUSTED_S, _FEWEST_RUNS = 1.0, 3
"""What fewer runs of a size say, or none for so long, drops no frame of it: running it
tests that. Else one slow first run would lock a rare size out for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """Run these now, in this order."""

    tickets: tuple[Ticket, ...]
    reason: ReleaseReason


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitUntil:
    """Nothing is due before this time unless another frame arrives."""

    time_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """Nothing is waiting."""


Step = Release | WaitUntil | Idle


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The waiting frames of one size, in short."""

    size: Size
    count: int
    oldest_s: float
    """When the first of them was queued."""
    earliest_s: float
    """First deadline that can still be met; infinite: none."""
    rivals_s: float = 0.0
    """What the batches of all other sizes would take, which may go first."""


def is_doomed(ticket: Ticket, now_s: float, costs: Costs) -> bool:
    """Say whether a frame must not run: its answer would come too late.

    Its deadline has come, or is nearer than the time that it takes at the least. What
    other sizes take drops no frame.
    """
    if ticket.deadline_s <= now_s:
        return True
    proof = costs.proofs.get(ticket.size)
    if proof is None or proof.runs < _FEWEST_RUNS:
        return False
    is_trusted = now_s - proof.checked_s <= _TRUSTED_S
    return is_trusted and now_s + proof.least_s > ticket.deadline_s


def with_rivals(
    groups: Sequence[Group], rules: BatchRules, costs: Costs
) -> Sequence[Group]:
    """Return the sizes of one queue, each knowing of the others."""
    if len(groups) < 2:
        return groups
    takes_s = [_batch_s(group, rules, costs) or 0.0 for group in groups]
    total_s = sum(takes_s)
    return [
        replace(group, rivals_s=total_s - own_s)
        for group, own_s in zip(groups, takes_s, strict=True)
    ]


def due_reason(
    group: Group, now_s: float, rules: BatchRules, costs: Costs, *, draining: bool
) -> ReleaseReason | None:
    """Return why a size is to be released now, or None."""
    if group.count >= rules.max_batch:
        return ReleaseReason.FULL
    if draining:
        return ReleaseReason.DRAIN
    # The same sums as in `due_at_s`: waking at that time must find it due.
    if group.oldest_s + rules.max_delay_s <= now_s:
        return ReleaseReason.DELAY
    if _last_start_s(group, rules, costs) <= now_s:
        return ReleaseReason.DEADLINE
    # Where nothing has ever run, the delay that was asked for is all there is.
    if costs.measured and not costs.gains(group.size, group.count):
        return ReleaseReason.NO_GAIN
    return None


def due_at_s(group: Group, rules: BatchRules, costs: Costs) -> float:
    """Return when a size that is not due will be, if nothing else arrives."""
    delayed_s = group.oldest_s + rules.max_delay_s
    return min(delayed_s, _last_start_s(group, rules, costs))


def released(
    ranked: Sequence[Ticket], reason: ReleaseReason, now_s: float, costs: Costs
) -> Release:
    """Release as many of the first tickets of a size as their deadlines allow."""
    count = fitting(ranked, now_s, costs)
    if count < len(ranked):
        return Release(tickets=tuple(ranked[:count]), reason=ReleaseReason.DEADLINE)
    return Release(tickets=tuple(ranked), reason=reason)


def fitting(ranked: Sequence[Ticket], now_s: float, costs: Costs) -> int:
    """Return how many of the first tickets make the largest batch without a victim.

    A victim is late in the batch, though it would not be alone.
    """
    best, earliest_s = len(ranked[:1]), math.inf
    for count, ticket in enumerate(ranked, start=1):
        cost = costs.of(ticket.size, count)
        if cost is None:
            return len(ranked)
        if can_be_met(ticket, now_s, costs):
            earliest_s = min(earliest_s, ticket.deadline_s)
        if now_s + cost.late_s <= earliest_s:
            best = count
    return best


def can_be_met(ticket: Ticket, now_s: float, costs: Costs) -> bool:
    """Say whether a frame that ran from now on, alone or not, would be in time."""
    alone, proof = costs.of(ticket.size, 1), costs.proofs.get(ticket.size)
    alone_s = alone.typical_s if alone else 0.0
    least_s = min(alone_s, proof.least_s) if proof else alone_s
    return now_s + least_s <= ticket.deadline_s


def _last_start_s(group: Group, rules: BatchRules, costs: Costs) -> float:
    """Return when a batch of the whole group has to start for its first deadline."""
    takes_s = _batch_s(group, rules, costs)
    if takes_s is None:
        return math.inf
    return group.earliest_s - takes_s - group.rivals_s - rules.margin_s


def _batch_s(group: Group, rules: BatchRules, costs: Costs) -> float | None:
    cost = costs.about(group.size, min(group.count, rules.max_batch))
    return cost.late_s if cost else None
