"""A frame that comes in instead of another: both count as one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.engines import raw, request

from spinert.runtime.config import EngineSettings
from spinert.runtime.engine.admission import Admission
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.engine.outlook import Outlook
from spinert.runtime.engine.stage_line import Stage
from spinert.runtime.errors import Overloaded, Reason
from spinert.runtime.frame import FrameRequest


@dataclass(eq=False)
class Item:
    request: FrameRequest


def item(left_s=None, **fields):
    deadline_s = None if left_s is None else 100.0 + left_s
    return Item(request(raw(), deadline_s=deadline_s, **fields))


def opened(clock, **limits):
    """Return an admission before one stage, which takes a second for each frame."""
    durations = Durations(1)
    for _ in range(3):
        durations.observe(kind_of(request()), clock() - 1, clock())
    stage = Stage(costs=durations.costs, kind_of=kind_of)
    outlook = Outlook({"stage": stage}, lambda _: [["stage"]])
    admission = Admission(EngineSettings(**limits), clock, outlook)
    admission.open()
    return admission


@pytest.mark.parametrize(
    "limits",
    [
        {"max_frames": 2, "max_batch": 1},
        {"max_frames_per_device": 2},
        {"max_queue_mib": 2},
    ],
)
def test_it_needs_no_more_room_than_the_other_had(clock, limits, monkeypatch):
    monkeypatch.setattr(
        "spinert.runtime.engine.admission.payload_bytes", lambda _: 2**20
    )
    monkeypatch.setattr("spinert.runtime.engine.refusal.payload_bytes", lambda _: 2**20)
    admission = opened(clock, **limits)
    other, waits, new = (item(device="door") for _ in range(3))
    admission.admit(other)
    admission.admit(waits)
    with pytest.raises(Overloaded):
        admission.admit(new)
    admission.admit(new, waits)
    assert len(admission) == 2
    admission.leave(waits)
    assert len(admission) == 2, "it has left before"
    with pytest.raises(Overloaded):
        admission.admit(waits)


def test_the_other_is_not_waited_for(clock):
    admission = opened(clock)
    admission.admit(item(left_s=3))
    waits = item(left_s=3)
    admission.admit(waits)
    with pytest.raises(Overloaded):
        admission.admit(item(left_s=3))
    admission.admit(item(left_s=3), waits)


def test_where_it_is_refused_the_other_stays_as_it_was(clock):
    admission = opened(clock)
    waits = item(left_s=5)
    admission.admit(waits)
    with pytest.raises(Overloaded) as caught:
        admission.admit(item(left_s=0.5), waits)
    assert caught.value.reason is Reason.DEADLINE_UNREACHABLE
    assert len(admission) == 1
    clock.now_s += 5
    assert admission.next_expired() == (waits,)
    admission.leave(waits)
    assert len(admission) == 0


def test_one_that_has_left_gives_no_room(clock):
    admission = opened(clock, max_frames=1, max_batch=1)
    gone, here = item(), item()
    admission.admit(gone)
    admission.leave(gone)
    admission.admit(here)
    with pytest.raises(Overloaded):
        admission.admit(item(), gone)
