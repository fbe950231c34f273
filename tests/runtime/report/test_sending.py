"""Every file has an outcome, whatever the server does."""

from __future__ import annotations

from pathlib import Path

from support.fronts import BusyEngine, ScriptedEngine, front_in_a_thread

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Client
from spinert.runtime.errors import Overloaded, Reason, Unavailable, UnsupportedFrame
from spinert.runtime.report.sending import answers_from_files


def files(directory: Path, count: int) -> list[Path]:
    paths = [directory / f"{number}.dcm" for number in range(count)]
    for path in paths:
        path.write_bytes(b"not read by the scripted engine")
    return paths


def sent(engine, paths, device=""):
    done = []
    with (
        front_in_a_thread(engine) as front,
        Client(front.address, device=device) as client,
    ):
        engine.front = front
        answers = answers_from_files(client, paths, lambda: done.append(1))
    assert [answer.path for answer in answers] == paths
    assert len(done) == len(paths)
    return [answer.outcome for answer in answers]


def test_files_refused_for_now_are_sent_again(tmp_path):
    engine = BusyEngine()
    engine.busy = 7
    outcomes = sent(engine, files(tmp_path, 9))
    assert all(isinstance(outcome, pb.Result) for outcome in outcomes)
    assert [outcome.frame_id for outcome in outcomes] == [str(n) for n in range(9)]


def test_a_server_that_never_has_room_is_not_asked_for_ever(tmp_path):
    full = Overloaded(Reason.QUEUE_FULL, "retry later")
    full.retry_after_ms = 1
    [error] = sent(ScriptedEngine(refusal=full), files(tmp_path, 1))
    assert (error.reason, error.is_refusal) == (Reason.QUEUE_FULL, False)


def test_a_file_that_is_refused_for_good_is_sent_once(tmp_path):
    engine = ScriptedEngine(UnsupportedFrame(Reason.COLOUR_IMAGE, "send it in grey"))
    [error] = sent(engine, files(tmp_path, 1))
    assert (error.reason, error.is_refusal) == (Reason.COLOUR_IMAGE, True)
    assert len(engine.requests) == 1


class EndingEngine(ScriptedEngine):
    """The server shuts down with its second frame."""

    front = None

    def submit(self, request):
        future = super().submit(request)
        if len(self.requests) == 2:
            self.front.service.drain()
        return future


def test_a_stream_that_breaks_leaves_what_was_answered(tmp_path):
    first, second, *rest = sent(EndingEngine(), files(tmp_path, 40))
    assert isinstance(first, pb.Result)
    assert isinstance(second, pb.Result)
    # The server's own reason is lost where a frame was just being written.
    reasons = {error.reason for error in rest}
    assert reasons in ({Reason.SHUTTING_DOWN}, {"STREAM_BROKEN"})
    assert {error.status for error in rest} == {Unavailable.status.name}
    assert not any(error.is_refusal for error in rest)


def test_a_file_that_is_gone_does_not_stop_the_others(tmp_path):
    paths = files(tmp_path, 3)
    paths[1].unlink()
    first, gone, last = sent(ScriptedEngine(), paths)
    assert isinstance(first, pb.Result)
    assert isinstance(last, pb.Result)
    assert (gone.reason, gone.is_refusal) == ("UNREADABLE", False)
