"""An engine on a clock of its own: what it predicts is what happens."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from support.engines import (
    PATIENCE_S,
    GatedBackend,
    HeldDecoder,
    ManualClock,
    image,
    raw,
    request,
    running_engine,
)

from spinert.runtime.decode.raw import image_from_raw
from spinert.runtime.engine.answering import answer_from_job
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.engine.stages import DECODE, PREPARE
from spinert.runtime.errors import DeadlineExceeded, Overloaded, Reason
from spinert.runtime.frame import DicomFrame
from spinert.runtime.verdict import Output

CLASSIFIED = frozenset({Output.CLASSIFICATION})
FILE = DicomFrame(data=b"DICM")
DECODE_S = 0.1


class Pipeline:
    """An engine with two decoders of 100 ms, whose clock stands still otherwise."""

    def __init__(self, engine, backend, decoder, clock):
        self.engine, self.backend = engine, backend
        self.decoder, self.clock = decoder, clock

    def submit(self, content=FILE, left_s=None):
        now_s = self.clock()
        deadline_s = None if left_s is None else now_s + left_s
        frame = request(
            content, outputs=CLASSIFIED, arrived_s=now_s, deadline_s=deadline_s
        )
        return self.engine.submit(frame)

    def decode(self, number=-1):
        """Let time pass until a file is decoded."""
        self.clock.now_s += DECODE_S
        self.decoder.futures[number].set_result(image())

    def teach(self):
        """Let three files through, one after the other."""
        for _ in range(3):
            future = self.submit()
            self.decode()
            future.result(PATIENCE_S)


@pytest.fixture
def pipeline(bundle):
    backend, decoder, clock = GatedBackend(), HeldDecoder(), ManualClock()
    with running_engine(
        bundle, backend, decoder=decoder, clock=clock, max_delay_ms=0
    ) as engine:
        yield Pipeline(engine, backend, decoder, clock)


def decoding_s(pipeline):
    costs = pipeline.engine._durations[DECODE].costs(kind_of(request(FILE)))
    return costs.of(costs.usual, 1).typical_s


def test_a_decoder_that_has_just_ended_refuses_nobody(pipeline):
    """Eight files a second, two decoders that take 100 ms, 200 ms to live."""
    pipeline.teach()
    for _ in range(8):
        future = pipeline.submit(left_s=0.2)
        pipeline.decode()
        future.result(PATIENCE_S)
        pipeline.clock.now_s += 0.025


def test_files_that_wait_for_a_decoder_are_not_being_decoded(pipeline):
    pipeline.teach()
    futures = [pipeline.submit() for _ in range(8)]
    decoded = 3
    while decoded < len(pipeline.decoder.futures):
        assert len(pipeline.decoder.futures) - decoded <= 2, "as many as decoders"
        pipeline.clock.now_s += DECODE_S
        for future in pipeline.decoder.futures[decoded : decoded + 2]:
            future.set_result(image())
        decoded += 2
        for future in futures[: decoded - 3]:
            future.result(PATIENCE_S)
    assert decoding_s(pipeline) == pytest.approx(DECODE_S)


def test_files_ahead_of_a_file_are_counted_on_two_decoders(pipeline):
    pipeline.teach()
    waiting = [pipeline.submit(left_s=0.45) for _ in range(6)]
    with pytest.raises(Overloaded) as caught:
        pipeline.submit(left_s=0.46)
    assert caught.value.reason is Reason.DEADLINE_UNREACHABLE
    assert caught.value.retry_after_ms > 0
    late = pipeline.submit(left_s=0.5)
    for future in (*waiting, late):
        future.cancel()


def test_raw_frames_do_not_wait_for_decoders(pipeline):
    pipeline.teach()
    files = [pipeline.submit() for _ in range(20)]
    assert pipeline.submit(raw(), left_s=0.01).result(PATIENCE_S).verdict
    for future in files:
        future.cancel()


def test_a_file_that_cannot_be_decoded_teaches_nothing(pipeline):
    pipeline.teach()
    for _ in range(9):
        future = pipeline.submit()
        pipeline.clock.now_s += 5
        pipeline.decoder.futures[-1].set_exception(ValueError("damaged"))
        assert isinstance(future.exception(PATIENCE_S), ValueError)
    assert decoding_s(pipeline) == pytest.approx(DECODE_S)
    assert pipeline.engine._admission._outlook._lines[DECODE]._runs == []


def test_what_preparing_takes_is_learned_by_kind(pipeline, monkeypatch):
    def slow(*args):
        pipeline.clock.now_s += 0.2
        return image_from_raw(*args)

    monkeypatch.setattr("spinert.runtime.engine.preparation.image_from_raw", slow)
    for _ in range(3):
        pipeline.submit(raw()).result(PATIENCE_S)
    costs = pipeline.engine._durations[PREPARE].costs(kind_of(request(raw())))
    assert costs.of(costs.usual, 1).typical_s == pytest.approx(0.2)
    with pytest.raises(Overloaded) as caught:
        pipeline.submit(raw(), left_s=0.1)
    assert caught.value.retry_after_ms == 0
    assert "200 ms" in caught.value.message


def test_no_stage_is_busy_once_all_is_answered(pipeline):
    pipeline.teach()
    pipeline.backend.errors = [ValueError("no")]
    pipeline.submit(raw()).exception(PATIENCE_S)
    pipeline.submit(replace(raw(), rows=7)).exception(PATIENCE_S)
    pipeline.submit()
    pipeline.decoder.futures[-1].set_exception(ValueError("damaged"))
    lines = pipeline.engine._admission._outlook._lines
    assert {name: line._runs for name, line in lines.items()} == {
        name: [] for name in (DECODE, PREPARE, "classifier", "detector")
    }
    assert not any(map(len, lines.values()))


def test_a_cancelled_file_occupies_its_decoder_until_that_gives_up(pipeline):
    pipeline.teach()
    futures = [pipeline.submit() for _ in range(2)]
    for decoding in pipeline.decoder.futures[3:]:
        decoding.set_running_or_notify_cancel()
    for future in futures:
        future.cancel()
    late = pipeline.submit()
    assert len(pipeline.decoder.futures) == 5
    pipeline.decode(3)
    assert len(pipeline.decoder.futures) == 6
    late.cancel()


def test_a_deadline_that_nobody_could_keep_widens_no_headroom(pipeline):
    """An idle stage is not believed: it lets such frames in, and promises nothing."""
    pipeline.teach()
    outlook = pipeline.engine._admission._outlook
    first = outlook._headroom
    for _ in range(30):
        pipeline.clock.now_s += 1.2
        future = pipeline.submit(left_s=0.005)
        pipeline.clock.now_s += 0.005
        pipeline.engine._admission.nudge()
        with pytest.raises(DeadlineExceeded):
            future.result(PATIENCE_S)
    assert outlook._headroom == first


def test_a_promise_that_was_not_kept_widens_the_headroom(pipeline):
    pipeline.teach()

    outlook = pipeline.engine._admission._outlook
    prepare = pipeline.engine._durations[PREPARE]
    now_s = pipeline.clock()
    with pipeline.engine._lanes["classifier"].switch.using() as source:
        origin = source.run_of("classifier")
    pipeline.engine._costs["classifier"].observe(
        (32, 32), 1, start_s=now_s - 0.01, end_s=now_s, origin=origin
    )
    for _ in range(3):
        prepare.observe(kind_of(request(FILE)), now_s - 0.01, now_s)
    first = outlook._headroom
    future = pipeline.submit(left_s=0.2)
    pipeline.clock.now_s += 0.2
    pipeline.engine._admission.nudge()
    with pytest.raises(DeadlineExceeded):
        future.result(PATIENCE_S)
    assert outlook._headroom == pytest.approx(first + 0.1)


def test_the_next_batch_runs_while_answers_are_decided(bundle, monkeypatch):
    """On a backend that runs one batch at a time."""
    backend, decided = GatedBackend(), []

    def decide(*args):
        decided.append(args)
        if len(decided) == 1:
            backend.wait_until_running(2)
        return answer_from_job(*args)

    monkeypatch.setattr("spinert.runtime.engine.engine.answer_from_job", decide)
    with running_engine(bundle, backend, max_batch=1, max_delay_ms=0) as engine:
        frames = [engine.submit(request(outputs=CLASSIFIED)) for _ in range(2)]
        assert all(future.result(2 * PATIENCE_S).verdict for future in frames)


class SlowDetector(GatedBackend):
    """One network at a time; the detector takes half a second."""

    def __init__(self, clock):
        super().__init__(concurrent=False)
        self.clock = clock

    def run(self, role, inputs):
        outputs = super().run(role, inputs)
        self.clock.now_s += 0.5 * (role == "detector")
        return outputs


def test_the_turn_of_another_network_does_not_count_as_cost(bundle):
    clock = ManualClock()
    backend = SlowDetector(clock)
    with running_engine(bundle, backend, clock=clock, max_delay_ms=0) as engine:
        backend.gate.clear()
        first = engine.submit(request(outputs=CLASSIFIED))
        backend.wait_until_running()
        second = engine.submit(request(outputs=frozenset({Output.FINDINGS})))
        switch = engine._lanes["detector"].switch
        while switch._users[switch._current] < 2:
            threading.Event().wait(0.001)
        clock.now_s += 5
        backend.gate.set()
        for future in (first, second):
            future.result(PATIENCE_S)
        found = engine._costs["detector"].costs
    assert found.of(found.usual, 1).typical_s == pytest.approx(0.5)
