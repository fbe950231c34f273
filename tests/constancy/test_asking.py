"""Asking an appliance about phantoms, one at a time."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import grpc
import pydicom
import pytest
from support.constancies import key, result
from support.phantoms import ramp_phantom

from spinert.constancy.asking import NoAnswer, asked_phantoms
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import RequestFailed


def refusal(status: grpc.StatusCode) -> RequestFailed:
    return RequestFailed("SOME_REASON", "what to do", status)


@dataclass
class FakeAsker:
    """Answers, or raises, what the test says for the frame of that number."""

    failures: dict[int, RequestFailed] = field(default_factory=dict)
    frames: list[bytes] = field(default_factory=list)

    def analyze(self, frame, *, timeout_s):
        self.frames.append(bytes(frame.payload))
        failure = self.failures.get(len(self.frames) - 1)
        if failure is not None:
            raise failure
        return result()


def asked(asker, indices=range(3)):
    keys = [key(index) for index in indices]
    return list(asked_phantoms(asker, keys, ramp_phantom))


def test_every_phantom_is_sent_as_dicom_and_answered_in_order():
    asker = FakeAsker()
    answers = asked(asker, [4, 2])
    sent = [pydicom.dcmread(io.BytesIO(frame)) for frame in asker.frames]
    assert [file.PatientID for file in sent] == ["PHANTOM-3-000004", "PHANTOM-3-000002"]
    assert [answer.key.index for answer in answers] == [4, 2]
    assert all(isinstance(answer.outcome, pb.Result) for answer in answers)


def test_latency_is_from_sending_to_answer_without_drawing():
    now_s = 0.0

    def draw(wanted):
        nonlocal now_s
        now_s += 7.0
        return ramp_phantom(wanted)

    class Slow(FakeAsker):
        def analyze(self, frame, *, timeout_s):
            nonlocal now_s
            now_s += 0.5
            return super().analyze(frame, timeout_s=timeout_s)

    answers = asked_phantoms(Slow(), [key(0), key(1)], draw, lambda: now_s)
    assert [answer.latency_s for answer in answers] == [0.5, 0.5]


def test_a_refused_phantom_does_not_end_the_test():
    asker = FakeAsker({1: refusal(grpc.StatusCode.INVALID_ARGUMENT)})
    answers = asked(asker)
    assert len(asker.frames) == 3
    assert answers[1].outcome == NoAnswer(reason="SOME_REASON", message="what to do")
    assert isinstance(answers[2].outcome, pb.Result)


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]
)
def test_a_server_that_is_gone_is_not_asked_again(status):
    asker = FakeAsker({1: refusal(status)})
    answers = asked(asker, range(4))
    assert len(asker.frames) == 2
    reasons = [answer.outcome.reason for answer in answers[1:]]
    assert reasons == ["SOME_REASON", "NOT_ASKED", "NOT_ASKED"]


def test_no_phantom_is_drawn_before_it_is_wanted():
    drawn = []

    def draw(wanted):
        drawn.append(wanted.index)
        return ramp_phantom(wanted)

    answers = asked_phantoms(FakeAsker(), [key(i) for i in range(5)], draw)
    next(answers)
    assert drawn == [0]
