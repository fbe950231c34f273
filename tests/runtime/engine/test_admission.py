from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from support.engines import PATIENCE_S, ManualClock, raw, request

from spinert.runtime.config import EngineSettings
from spinert.runtime.engine.active import ActiveDevices
from spinert.runtime.engine.admission import Admission
from spinert.runtime.engine.outlook import Prospect
from spinert.runtime.engine.refusal import (
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


def expected(**fields):
    usual = {
        "finish_s": 0.0,
        "alone_s": 0.0,
        "places": 100,
        "waiting": 0,
        "overtakes": False,
    }
    return Prospect(**usual | fields)


LATE = expected(finish_s=5.4, alone_s=0.1, places=0)


def test_a_frame_that_cannot_be_done_in_time_is_refused_before_any_work():
    error = refusal(load(prospect=LATE), request(deadline_s=5.0), LIMITS, 4.5)
    assert isinstance(error, Overloaded)
    assert error.reason is Reason.DEADLINE_UNREACHABLE
    assert error.retry_after_ms == pytest.approx(400, abs=1)
    assert refusal(load(prospect=LATE), request(deadline_s=5.5), LIMITS, 4.5) is None


def test_a_frame_without_a_deadline_is_never_too_late():
    assert refusal(load(prospect=None), request(), LIMITS, 4.5) is None


def test_a_frame_that_even_alone_takes_too_long_is_told_to_allow_more():
    alone = expected(finish_s=5.4, alone_s=0.7, places=0)
    error = refusal(load(prospect=alone), request(deadline_s=5.0), LIMITS, 4.5)
    assert error.reason is Reason.DEADLINE_UNREACHABLE
    assert error.retry_after_ms == 0, "waiting does not help"
    assert "700 ms" in error.message


def test_a_frame_that_would_make_another_late_is_refused():
    greedy = expected(finish_s=4.6, overtakes=True)
    error = refusal(load(prospect=greedy), request(deadline_s=5.0), LIMITS, 4.5)
    assert error.reason is Reason.DEADLINE_UNREACHABLE
    assert error.retry_after_ms > 0


ROOMY = EngineSettings(max_frames=100, max_frames_per_device=100)


@pytest.mark.parametrize(
    ("frames", "device_frames", "devices", "fits"),
    [
        (74, 74, 2, True),
        (75, 49, 2, True),
        (75, 50, 2, False),
        (75, 75, 1, True),
        (99, 1, 100, False),
        (99, 0, 100, True),
    ],
)
def test_a_device_may_take_its_share_of_a_server_that_is_nearly_full(
    frames, device_frames, devices, fits
):
    found = load(frames=frames, device_frames=device_frames, devices=devices)
    error = refusal(found, request(), ROOMY, 0.0)
    assert (error is None) == fits
    assert fits or error.reason is Reason.DEVICE_QUOTA


def test_with_a_deadline_the_places_are_those_that_can_be_served_before_it():
    near = expected(finish_s=4.9, places=2, waiting=8)
    found = load(frames=9, device_frames=6, devices=2, prospect=near)
    error = refusal(found, request(deadline_s=5.0), ROOMY, 4.5)
    assert error.reason is Reason.DEVICE_QUOTA
    few = load(frames=9, device_frames=5, devices=2, prospect=near)
    assert refusal(few, request(deadline_s=5.0), ROOMY, 4.5) is None


def test_bytes_are_counted_not_elements():
    view = memoryview(bytes(16)).cast("H")
    assert payload_bytes(request(EncodedFrame(data=view))) == 16


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


def test_entries_of_frames_that_left_before_their_deadline_do_not_pile_up(admission):
    for number in range(1000):
        item = Item(request(deadline_s=1e9 + number))
        admission.admit(item)
        admission.leave(item)
    assert len(admission._deadlines) < 100
    assert not admission._dated


def test_devices_are_forgotten_a_second_after_their_last_frame():
    active = ActiveDevices()
    assert [active.count(name, 0.0) for name in "abca"] == [1, 2, 3, 3]
    assert active.count("d", 0.9) == 4
    assert active.count("d", 1.5) == 1
