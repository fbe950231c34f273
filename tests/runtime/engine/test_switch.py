from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.engines import (
    PATIENCE_S,
    GatedBackend,
    request,
    running_engine,
    tiny_bundle,
)

from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.switch import BackendSwitch, engine_key


class NamedBackend(GatedBackend):
    def __init__(self, name, *, concurrent=True):
        super().__init__(concurrent=concurrent)
        self.name, self.held = name, None

    def run(self, role, inputs):
        if self.held in (None, role):
            return super().run(role, inputs)
        self.calls.append((role, inputs["image"].shape))
        return FakeBackend.run(self, role, inputs)

    @property
    def capabilities(self):
        return replace(super().capabilities, name=self.name)


class BackendWithEngines(NamedBackend):
    @property
    def engine_sha256s(self):
        return {"classifier": "ab", "detector": "cd"}

    @property
    def engine_directories(self):
        return {"classifier": Path("/cache/abc"), "detector": Path("/cache/def")}


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path)


@pytest.fixture
def new(bundle):
    backend = BackendWithEngines("new")
    load_networks(backend, bundle)
    return backend


@pytest.fixture
def old(bundle):
    return NamedBackend("old")


def origin(run):
    return run.network, run.backend, run.engine_key, run.is_degraded


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_what_runs_next_is_what_was_swapped_in(old, new):
    switch = BackendSwitch(old, degraded=True)
    assert (switch.capabilities.name, switch.is_degraded) == ("old", True)
    assert switch.swap(new) is old
    assert (switch.capabilities.name, switch.is_degraded) == ("new", False)
    with switch.using() as source:
        assert source.backend is new
        assert origin(source.run_of("detector")) == ("detector", "new 1", "def", False)


def test_a_backend_without_engines_has_no_engine_key(old, new):
    assert engine_key(old, "classifier") == ""
    assert engine_key(new, "classifier") == "abc"


def test_a_swap_waits_for_the_batch_that_is_running(old, new):
    switch = BackendSwitch(old)
    ended = threading.Event()
    with switch.using() as source:
        thread = in_thread(lambda: (switch.swap(new), ended.set()))
        while switch.capabilities.name == "old":
            pass
        assert not ended.is_set(), "the old one could be closed under a batch"
        with switch.using() as other:
            assert other.backend is new, "a new batch does not wait"
        assert source.backend is old
        assert not ended.is_set()
    thread.join(PATIENCE_S)
    assert ended.is_set()


def test_a_batch_that_fails_does_not_hold_up_a_swap(old, new):
    switch = BackendSwitch(old)
    with pytest.raises(ValueError, match="broken"), switch.using():
        raise ValueError("broken")
    assert switch.swap(new) is old


@pytest.mark.parametrize(("concurrent", "expected"), [(True, 2), (False, 1)])
def test_networks_take_turns_where_the_backend_runs_one_at_a_time(
    bundle, concurrent, expected
):
    backend = NamedBackend("fake", concurrent=concurrent)
    backend.gate.clear()
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request())
        backend.wait_until_running(expected)
        time.sleep(0.05)
        backend.gate.set()
        future.result(PATIENCE_S)
    assert backend.most_at_once == expected


def test_an_answer_says_what_ran_each_network(bundle, old):
    with running_engine(bundle, old, max_delay_ms=0) as engine:
        answer = engine.submit(request()).result(PATIENCE_S)
    assert [origin(run) for run in answer.runs] == [
        ("classifier", "old 1", "", False),
        ("detector", "old 1", "", False),
    ]


def test_a_frame_between_two_backends_says_which_ran_what(bundle, old, new):
    switch, clock = BackendSwitch(old, degraded=True), time.monotonic
    old.held = "detector"
    old.gate.clear()
    with running_engine(bundle, old, switch=switch, clock=clock, max_batch=1) as engine:
        before = engine.submit(request())
        while old.frames_run("detector") < 1:
            pass
        between = engine.submit(request())
        while old.frames_run("classifier") < 2:
            pass
        swap = in_thread(lambda: switch.swap(new))
        while switch.is_degraded:
            pass
        after = engine.submit(request())
        old.gate.set()
        answers = [f.result(PATIENCE_S) for f in (before, between, after)]
        swap.join(PATIENCE_S)
    assert [[origin(run)[1::2] for run in answer.runs] for answer in answers] == [
        [("old 1", True), ("old 1", True)],
        [("old 1", True), ("new 1", False)],
        [("new 1", False), ("new 1", False)],
    ]


# ------------------------------------------------------------- batches at once


class DoubleBackend(NamedBackend):
    @property
    def capabilities(self):
        return replace(super().capabilities, concurrent_batches=2)


@pytest.mark.parametrize(("kind", "expected"), [(NamedBackend, 1), (DoubleBackend, 2)])
def test_as_many_batches_run_at_once_as_the_backend_takes(bundle, kind, expected):
    backend = kind("new")
    backend.held = "detector"
    backend.gate.clear()
    with running_engine(bundle, backend, clock=time.monotonic, max_batch=1) as engine:
        futures = [engine.submit(request()) for _ in range(4)]
        backend.wait_until_running(expected)
        time.sleep(0.05)
        assert backend.frames_run("detector") == expected
        backend.gate.set()
        for future in futures:
            future.result(PATIENCE_S)
    assert backend.most_at_once == expected


def test_frames_join_a_batch_until_it_can_run(bundle):
    backend = NamedBackend("new")
    backend.held = "detector"
    backend.gate.clear()
    limits = {"max_batch": 3, "max_delay_ms": 0}
    with running_engine(bundle, backend, clock=time.monotonic, **limits) as engine:
        first = engine.submit(request())
        backend.wait_until_running()
        rest = [engine.submit(request()) for _ in range(3)]
        while backend.frames_run("classifier") < 4:
            pass
        backend.gate.set()
        for future in (first, *rest):
            future.result(PATIENCE_S)
    sizes = [shape[0] for role, shape in backend.calls if role == "detector"]
    assert sizes == [1, 3], "two waiting batches would have been formed too early"


def test_a_swap_lets_more_batches_run_at_once(bundle, old):
    switch = BackendSwitch(old)
    entered = threading.Semaphore(0)
    leave = threading.Event()

    def hold():
        with switch.slot("detector"):
            entered.release()
            leave.wait(PATIENCE_S)

    threads = [in_thread(hold) for _ in range(2)]
    assert entered.acquire(timeout=PATIENCE_S)
    assert not entered.acquire(timeout=0.05)
    switch.swap(DoubleBackend("new"))
    assert entered.acquire(timeout=PATIENCE_S)
    leave.set()
    for thread in threads:
        thread.join(PATIENCE_S)
