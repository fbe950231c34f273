"""Of a live view one frame is on its way to a network, and the newest follows it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.engines import (
    GatedBackend,
    HeldDecoder,
    ManualClock,
    image,
    request,
    running_engine,
)

from spinert.runtime.engine.job import Job
from spinert.runtime.engine.live_views import LiveViews
from spinert.runtime.errors import (
    DeadlineExceeded,
    MalformedFrame,
    Overloaded,
    Reason,
    Superseded,
)
from spinert.runtime.frame import DicomFrame
from spinert.runtime.verdict import Output

WAIT_S = 30
CLASSIFIED = frozenset({Output.CLASSIFICATION})


def live(view="door", **options):
    return replace(request(outputs=CLASSIFIED, **options), live_view=view)


def occupied(engine, backend):
    """Close the gate, and give the classifier a frame to hold."""
    backend.gate.clear()
    future = engine.submit(request(outputs=CLASSIFIED))
    backend.wait_until_running()
    return future


def test_superseded_frames_never_reach_the_backend(bundle):
    backend = GatedBackend()
    with running_engine(bundle, backend, max_batch=1, max_delay_ms=0) as engine:
        other = occupied(engine, backend)
        first, *skipped, last = (engine.submit(live()) for _ in range(6))
        # Those between are answered while the network is still busy with others.
        errors = [future.exception(WAIT_S) for future in skipped]
        assert engine.in_flight == 3
        backend.gate.set()
        assert all(future.result(WAIT_S).verdict for future in (other, first, last))
        assert backend.frames_run("classifier") == 3
    assert {type(error) for error in errors} == {Superseded}
    assert {error.reason for error in errors} == {Reason.SUPERSEDED}


def test_the_next_frame_starts_once_a_network_has_begun_with_the_one_before(bundle):
    backend = GatedBackend()
    with running_engine(bundle, backend, max_batch=1, max_delay_ms=0) as engine:
        backend.gate.clear()
        first = engine.submit(live())
        backend.wait_until_running()
        second, third, fourth = (engine.submit(live()) for _ in range(3))
        assert third.exception(WAIT_S).reason is Reason.SUPERSEDED
        backend.gate.set()
        answered = (first, second, fourth)
        assert all(future.result(WAIT_S).verdict for future in answered)


def test_a_view_that_is_faster_than_decoding_gets_every_frame_that_was_begun(bundle):
    decoder = HeldDecoder()
    with running_engine(
        bundle, GatedBackend(), decoder=decoder, max_delay_ms=0
    ) as engine:
        file = DicomFrame(data=b"DICM")
        answered, waits = [], engine.submit(live(content=file))
        for _ in range(5):
            on_its_way, *skipped = (
                waits,
                *(engine.submit(live(content=file)) for _ in range(2)),
            )
            waits = engine.submit(live(content=file))
            for future in skipped:
                assert future.exception(WAIT_S).reason is Reason.SUPERSEDED
            decoder.futures[-1].set_result(image())
            answered.append(on_its_way.result(WAIT_S))
        assert len(answered) == 5
        assert len(decoder.futures) == 6, "those between were never decoded"


def test_views_and_frames_of_no_view_do_not_disturb_each_other(bundle):
    backend = GatedBackend()
    with running_engine(bundle, backend, max_batch=1, max_delay_ms=0) as engine:
        occupied(engine, backend)
        names = ["door", "window", "", ""]
        futures = [engine.submit(live(view)) for view in names]
        backend.gate.set()
        assert all(future.result(WAIT_S).verdict for future in futures)


def test_the_next_frame_may_take_the_place_of_the_one_it_supersedes(bundle):
    backend = GatedBackend()
    limits = {"max_batch": 1, "max_frames": 3, "max_delay_ms": 0}
    with running_engine(bundle, backend, **limits) as engine:
        occupied(engine, backend)
        futures = [engine.submit(live()) for _ in range(4)]
        with pytest.raises(Overloaded):
            engine.submit(request())
        backend.gate.set()
        assert futures[-1].result(WAIT_S).verdict


def test_a_frame_that_is_refused_supersedes_nothing(bundle):
    clock, backend = ManualClock(), GatedBackend()
    limits = {"clock": clock, "max_batch": 1, "max_delay_ms": 0}
    with running_engine(bundle, backend, **limits) as engine:
        occupied(engine, backend)
        on_its_way, waits = engine.submit(live()), engine.submit(live())
        with pytest.raises(DeadlineExceeded):
            engine.submit(live(deadline_s=clock() - 1))
        assert engine.in_flight == 3
        backend.gate.set()
        assert on_its_way.result(WAIT_S).verdict
        assert waits.result(WAIT_S).verdict


def test_the_next_frame_starts_where_the_one_before_never_reached_a_network(bundle):
    decoder = HeldDecoder()
    limits = {"decoder": decoder, "max_delay_ms": 0}
    with running_engine(bundle, GatedBackend(), **limits) as engine:
        file = DicomFrame(data=b"DICM")
        cancelled, waits = (engine.submit(live(content=file)) for _ in range(2))
        assert len(decoder.futures) == 1
        cancelled.cancel()
        decoder.futures[1].set_exception(MalformedFrame(Reason.MALFORMED_DICOM, "no"))
        last = engine.submit(live(content=file))
        assert waits.exception(WAIT_S).reason is Reason.MALFORMED_DICOM
        decoder.futures[2].set_result(image())
        assert last.result(WAIT_S).verdict


def test_a_waiting_frame_can_be_cancelled_and_expires_like_any_other(bundle):
    clock, backend = ManualClock(), GatedBackend()
    limits = {"clock": clock, "max_batch": 1, "max_delay_ms": 0}
    with running_engine(bundle, backend, **limits) as engine:
        occupied(engine, backend)
        on_its_way = engine.submit(live())
        engine.submit(live()).cancel()
        assert engine.in_flight == 2
        expires = engine.submit(live(deadline_s=clock() + 1))
        clock.now_s += 1
        engine._admission.nudge()
        with pytest.raises(DeadlineExceeded):
            expires.result(WAIT_S)
        backend.gate.set()
        assert on_its_way.result(WAIT_S).verdict
        assert backend.frames_run("classifier") == 2


def test_views_are_forgotten_with_their_frames(bundle):
    with running_engine(bundle, GatedBackend(), max_delay_ms=0) as engine:
        for number in range(20):
            engine.submit(live(str(number % 5))).exception(WAIT_S)
        engine.submit(live("cancelled")).cancel()
        while engine.in_flight:
            threading.Event().wait(0.005)
        assert len(engine._entrance._live_views) == 0


def test_a_frame_is_started_or_superseded_and_never_both():
    """Whoever comes first: the network that makes way for it, or the next frame."""
    found = set()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(300):
            views = LiveViews(lambda job, instead_of: None)
            jobs = [Job(request=live(), roles=("classifier",)) for _ in range(3)]
            assert [views.enter(job) for job in jobs[:2]] == [True, False]
            started = pool.submit(views.advance, jobs[0])
            pool.submit(views.enter, jobs[2]).result()
            is_superseded = jobs[1].future.done()
            assert started.result() is (jobs[2] if is_superseded else jobs[1])
            found.add(is_superseded)
    assert found
