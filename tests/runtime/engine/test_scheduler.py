from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest
from support.engines import PATIENCE_S, request

from spinert.runtime.engine.scheduler import BatchQueue
from spinert.runtime.engine.ticket import BatchRules
from spinert.runtime.frame import FrameRequest, Priority
from spinert.runtime.verdict import ReleaseReason


@dataclass(eq=False)
class Item:
    name: str
    request: FrameRequest


def item(name, **fields):
    return Item(name, request(**fields))


class Taker:
    """A worker that takes until the queue is closed."""

    def __init__(self, queue):
        self.batches = []
        self.took = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.work, args=(queue,))
        self.thread.start()

    def work(self, queue):
        while (batch := queue.take()) is not None:
            self.batches.append(([e.item.name for e in batch.entries], batch.reason))
            self.took.release()

    def wait(self):
        assert self.took.acquire(timeout=PATIENCE_S)
        return self.batches[-1]


@pytest.fixture
def expired():
    return []


@pytest.fixture
def queue(clock, expired):
    queue = BatchQueue(BatchRules(max_batch=2, max_delay_s=1.0), clock, expired.append)
    yield queue
    queue.close()


@pytest.fixture
def taker(queue):
    taker = Taker(queue)
    yield taker
    queue.close()
    taker.thread.join(PATIENCE_S)
    assert not taker.thread.is_alive()


def names(batch):
    return [entry.item.name for entry in batch.entries]


def test_a_worker_that_waits_gets_a_batch_as_soon_as_it_is_full(queue, taker):
    queue.put(item("a"))
    queue.put(item("b"))
    assert taker.wait() == (["a", "b"], ReleaseReason.FULL)


def test_a_worker_that_waits_gets_a_lone_frame_after_the_delay(queue, taker, clock):
    queue.put(item("a"))
    queue.nudge()
    assert not taker.batches
    clock.now_s += 1.0
    queue.nudge()
    assert taker.wait() == (["a"], ReleaseReason.DELAY)


def test_the_delay_passes_by_itself_on_a_real_clock(expired):
    rules = BatchRules(max_batch=2, max_delay_s=0.01)
    queue = BatchQueue(rules, time.monotonic, expired.append)
    queue.put(item("a"))
    assert queue.take().reason is ReleaseReason.DELAY


def test_draining_releases_what_waits_and_what_comes(queue, taker):
    queue.put(item("a"))
    queue.drain()
    assert taker.wait() == (["a"], ReleaseReason.DRAIN)
    queue.put(item("b"))
    assert taker.wait() == (["b"], ReleaseReason.DRAIN)


def test_a_withdrawn_frame_is_never_handed_out(queue):
    withdrawn = queue.put(item("a"))
    queue.put(item("b"))
    queue.withdraw(withdrawn)
    queue.withdraw(withdrawn)
    assert len(queue) == 1
    queue.drain()
    assert names(queue.take()) == ["b"]


def test_an_expired_frame_goes_to_its_own_callback(queue, clock, expired):
    queue.put(item("a", deadline_s=clock() + 0.5))
    queue.put(item("b", deadline_s=clock() + 0.6))
    clock.now_s += 0.5
    queue.drain()
    assert names(queue.take()) == ["b"]
    assert [entry.name for entry in expired] == ["a"]
    assert len(queue) == 0


def test_frames_of_one_size_leave_together(queue):
    queue.put(item("a"), (32, 32))
    queue.put(item("b"), (64, 32))
    queue.put(item("c"), (32, 32))
    assert names(queue.take()) == ["a", "c"]


def test_stat_overtakes(queue):
    for name in "ab":
        queue.put(item(name))
    queue.put(item("urgent", priority=Priority.STAT))
    assert names(queue.take()) == ["urgent", "a"]


def test_a_flooding_device_waits_behind_its_own_frames(clock, expired):
    queue = BatchQueue(BatchRules(max_batch=1, max_delay_s=0.0), clock, expired.append)
    for number in range(6):
        queue.put(item(f"flood {number}", device="flood"))
    order = [names(queue.take())[0] for _ in range(2)]
    queue.put(item("polite 0", device="polite"))
    order += [names(queue.take())[0]]
    queue.put(item("polite 1", device="polite"))
    order += [names(queue.take())[0] for _ in range(5)]
    assert order[:2] == ["flood 0", "flood 1"]
    assert order.index("polite 0") <= 3
    assert order.index("polite 1") <= 5
    assert [name for name in order if "flood" in name] == [
        f"flood {number}" for number in range(6)
    ]


def test_a_device_cannot_save_up_turns_by_being_idle(clock, expired):
    queue = BatchQueue(BatchRules(max_batch=1, max_delay_s=0.0), clock, expired.append)
    for _ in range(8):
        queue.put(item("old", device="old"))
        queue.take()
    for number in range(4):
        queue.put(item(f"old {number}", device="old"))
        queue.put(item(f"new {number}", device="new"))
    order = [names(queue.take())[0] for _ in range(8)]
    assert [name.split()[0] for name in order].count("new") == 4
    assert {name.split()[0] for name in order[:2]} == {"old", "new"}
    assert {name.split()[0] for name in order[2:4]} == {"old", "new"}


def test_ever_new_devices_do_not_starve_one_that_was_served(clock, expired):
    queue = BatchQueue(BatchRules(max_batch=1, max_delay_s=0.0), clock, expired.append)
    queue.put(item("first", device="known"))
    queue.put(item("second", device="known"))
    order = [names(queue.take())[0]]
    for number in range(5):
        queue.put(item("stranger", device=f"stranger {number}"))
        order += names(queue.take())
    assert order[:2] == ["first", "second"]


def test_closing_ends_every_worker_and_forgets_what_waits(queue):
    takers = [Taker(queue) for _ in range(3)]
    queue.put(item("a"))
    queue.close()
    for taker in takers:
        taker.thread.join(PATIENCE_S)
        assert not taker.thread.is_alive()
    assert all(taker.batches == [] for taker in takers)
    queue.put(item("late"))
    assert len(queue) == 0


def taken_by(takers):
    return sum(len(names) for taker in takers for names, _ in taker.batches)


def test_every_frame_is_handed_out_once_with_many_threads(clock, expired):
    queue = BatchQueue(BatchRules(max_batch=4, max_delay_s=0.0), clock, expired.append)
    takers = [Taker(queue) for _ in range(4)]

    def put(first):
        for number in range(first, first + 200):
            queue.put(item(str(number)), (32 * (number % 3 + 1), 32))

    putters = [threading.Thread(target=put, args=(n * 200,)) for n in range(4)]
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join()
    while taken_by(takers) < 800:
        time.sleep(0.001)
    queue.close()
    for taker in takers:
        taker.thread.join(PATIENCE_S)
    everything = [name for t in takers for names, _ in t.batches for name in names]
    assert sorted(everything, key=int) == [str(number) for number in range(800)]
    assert all(len(names) <= 4 for t in takers for names, _ in t.batches)
