from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from support.engines import PATIENCE_S, ManualClock, raw, request

from spinert.runtime.config import EngineSettings
from spinert.runtime.engine.admission import (
    Admission,
    Load,
    payload_bytes,
    refusal,
    shutting_down,
)
from spinert.runtime.errors import DeadlineExceeded, Overloaded, Reason, Unavailable
from spinert.runtime.frame import EncodedFrame, FrameRequest

LIMITS = EngineSettings(max_frames=4, max_frames_per_device=2, max_queue_mib=1)
MIB = 2**20


@dataclass(eq=False)
class Item:
    request: FrameRequest


def load(**fields):
    empty = {"frames": 0, "device_frames": 0, "payload_bytes": 0, "interval_s": 0.0}
    return Load(**empty | fields)


def of_bytes(size):
    return request(EncodedFrame(data=bytes(size)))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (load(frames=3, device_frames=1), None),
        (load(frames=4, device_frames=1), Reason.QUEUE_FULL),
        (load(frames=3, device_frames=2), Reason.DEVICE_QUOTA),
        (load(frames=4, device_frames=2), Reason.QUEUE_FULL),
        (load(frames=1, payload_bytes=MIB - 10), None),
        (load(frames=1, payload_bytes=MIB - 9), Reason.QUEUE_FULL),
    ],
)
def test_a_frame_comes_in_while_there_is_room(found, reason):
    error = refusal(found, of_bytes(10), LIMITS, 0.0)
    assert (error and error.reason) == reason
    assert error is None or isinstance(error, Overloaded)


def test_a_frame_larger_than_the_whole_queue_may_come_in_alone():
    assert refusal(load(), of_bytes(2 * MIB), LIMITS, 0.0) is None


@pytest.mark.parametrize(("deadline_s", "late"), [(4.9, True), (5, True), (5.1, False)])
def test_a_frame_that_is_too_late_is_refused_at_once(deadline_s, late):
    error = refusal(load(), request(deadline_s=deadline_s), LIMITS, 5.0)
    assert isinstance(error, DeadlineExceeded) == late


def test_the_wait_before_a_retry_follows_the_pace():
    full = load(frames=40, interval_s=0.05)
    assert refusal(full, request(), LIMITS, 0.0).retry_after_ms == 1000
    fast = load(frames=4, interval_s=1e-6)
    assert refusal(fast, request(), LIMITS, 0.0).retry_after_ms == 20
    slow = load(frames=40, interval_s=60.0)
    assert refusal(slow, request(), LIMITS, 0.0).retry_after_ms == 10_000
    unknown = load(frames=4)
    default = Overloaded.retry_after_ms
    assert refusal(unknown, request(), LIMITS, 0.0).retry_after_ms == default > 0


def test_bytes_are_counted_not_elements():
    view = memoryview(bytes(16)).cast("H")
    assert payload_bytes(request(EncodedFrame(data=view))) == 16


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def admission(clock):
    admission = Admission(LIMITS, clock)
    admission.open()
    return admission


def test_nothing_comes_in_before_it_is_open(clock):
    with pytest.raises(Unavailable) as caught:
        Admission(LIMITS, clock).admit(Item(request()))
    assert caught.value.reason is Reason.NOT_READY


def test_nothing_comes_in_once_it_is_closed(admission):
    admission.close(shutting_down())
    with pytest.raises(Unavailable) as caught:
        admission.admit(Item(request()))
    assert caught.value.reason is Reason.SHUTTING_DOWN


def test_a_failure_after_shutting_down_keeps_it_shut_down(admission):
    admission.close(shutting_down())
    admission.close(Unavailable(Reason.NOT_READY, "the engine has failed"))
    with pytest.raises(Unavailable) as caught:
        admission.admit(Item(request()))
    assert caught.value.reason is Reason.SHUTTING_DOWN
    assert admission.next_expired() is None


def test_leaving_makes_room_of_every_kind(admission):
    big = EncodedFrame(data=bytes(MIB // 2 - 4096))
    for _ in range(3):
        items = [Item(request(big, device="a")) for _ in range(2)]
        for item in items:
            admission.admit(item)
        assert len(admission) == 2
        for content, device, reason in [
            (raw(), "a", Reason.DEVICE_QUOTA),
            (big, "b", Reason.QUEUE_FULL),
        ]:
            with pytest.raises(Overloaded) as caught:
                admission.admit(Item(request(content, device=device)))
            assert caught.value.reason is reason
        for item in items:
            admission.leave(item)
    assert len(admission) == 0


def test_a_refused_frame_takes_no_room(admission):
    for number in range(4):
        admission.admit(Item(request(device=str(number))))
    for number in range(4, 100):
        with pytest.raises(Overloaded):
            admission.admit(Item(request(device=str(number))))
    assert len(admission) == 4


class Watcher:
    def __init__(self, admission):
        self.dead = []
        self.found = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.work, args=(admission,))
        self.thread.start()

    def work(self, admission):
        while (dead := admission.next_expired()) is not None:
            self.dead.extend(dead)
            self.found.release()
            for item in dead:
                admission.leave(item)


@pytest.fixture
def watcher(admission):
    watcher = Watcher(admission)
    yield watcher
    admission.close(shutting_down())
    watcher.thread.join(PATIENCE_S)
    assert not watcher.thread.is_alive()


def test_whoever_watches_learns_of_each_deadline_when_it_comes(
    admission, watcher, clock
):
    late = Item(request(deadline_s=103.0, device="late"))
    soon = Item(request(deadline_s=101.0, device="soon"))
    never = Item(request(device="never"))
    for item in (late, soon, never):
        admission.admit(item)
    clock.now_s = 101.0
    admission.nudge()
    assert watcher.found.acquire(timeout=PATIENCE_S)
    assert watcher.dead == [soon]
    clock.now_s = 200.0
    admission.nudge()
    assert watcher.found.acquire(timeout=PATIENCE_S)
    assert watcher.dead == [soon, late]
    assert len(admission) == 1
    admission.leave(never)


def test_an_earlier_deadline_wakes_whoever_watches_for_a_later_one():
    import time

    admission = Admission(LIMITS, time.monotonic)
    admission.open()
    watcher = Watcher(admission)
    now_s = time.monotonic()
    far = Item(request(deadline_s=now_s + 3600))
    near = Item(request(deadline_s=now_s + 0.02))
    admission.admit(far)
    admission.admit(near)
    assert watcher.found.acquire(timeout=PATIENCE_S)
    assert watcher.dead == [near]
    admission.leave(far)
    admission.close(shutting_down())
    watcher.thread.join(PATIENCE_S)
    assert not watcher.thread.is_alive()


@pytest.mark.timeout(30)
def test_waiting_ends_when_the_last_frame_leaves(admission):
    item = Item(request())
    admission.admit(item)
    admission.close(shutting_down())
    assert admission.wait_until_empty(0.0) == (item,)
    leaver = threading.Timer(0.01, admission.leave, [item])
    leaver.start()
    assert admission.wait_until_empty(3600) == ()
    leaver.join()


def test_a_deadline_in_centuries_does_not_end_the_watch():
    clock = ManualClock()
    admission: Admission[Item] = Admission(LIMITS, clock)
    admission.open()
    admission.admit(Item(request(deadline_s=1e12)))
    soon = Item(request(deadline_s=clock() + 1))
    found = []
    watch = threading.Thread(target=lambda: found.append(admission.next_expired()))
    watch.start()
    admission.admit(soon)
    clock.now_s += 1
    admission.nudge()
    watch.join(PATIENCE_S)
    assert found == [(soon,)]
