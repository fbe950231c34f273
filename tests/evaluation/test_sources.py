"""A bundle answers the same in this process and on a server."""

from __future__ import annotations

import hashlib

import pytest
from support.bundles import tiny_spec, write_tiny_bundle
from support.dicoms import phantom, radiograph
from support.evaluations import radiographs, result_of, subject
from support.evaluations import write_images as written
from support.fronts import BusyEngine, ScriptedEngine, front_in_a_thread
from support.servers import serving, write_served_bundle

from spinert.evaluation.asking import ImageFile
from spinert.evaluation.errors import AnswersLost
from spinert.evaluation.local_source import local_source
from spinert.evaluation.records import Answered, Unanswered
from spinert.evaluation.server_source import ServerSource, server_source
from spinert.proto import inference_pb2 as pb
from spinert.runtime.bundle import load_bundle
from spinert.runtime.config import BackendSettings, DecodeSettings, Settings
from spinert.runtime.errors import Overloaded, Reason, UnsupportedFrame
from spinert.runtime.verdict import Output


def image_file(image_id: str, data: bytes) -> ImageFile:
    digest = hashlib.sha256(data).hexdigest()
    return ImageFile(image_id=image_id, split="test", sha256=digest, data=data)


@pytest.fixture
def images(tmp_path):
    cases = written(tmp_path / "images", radiographs(9))
    files = [image_file(case.image_id, case.path.read_bytes()) for case in cases]
    files.insert(4, image_file("dicom", radiograph(phantom())))
    files.insert(2, image_file("broken", b"not an image"))
    return files


def local_answers(bundle, images):
    settings = Settings(
        backend=BackendSettings(name="fake"), decode=DecodeSettings(workers=1)
    )
    loaded = load_bundle(bundle)
    with local_source(loaded, settings, lambda *_: None) as source:
        return source.subject, list(source.answers(iter(images)))


def by_id(outcomes):
    return {outcome.image_id: outcome for outcome in outcomes}


def test_a_server_and_this_process_answer_alike(tmp_path, images):
    bundle = write_served_bundle(tmp_path / "bundle")
    here, local = local_answers(bundle, images)
    with (
        serving(bundle, tmp_path / "work") as server,
        server_source(server.address, load_bundle(bundle)) as source,
    ):
        remote = list(source.answers(iter(images)))
        assert source.subject.key == here.key
        assert source.subject.members == here.members
        assert source.subject.classes == here.classes
        assert source.subject.rules == here.rules
    assert by_id(local) == by_id(remote)
    assert [outcome.image_id for outcome in local] == [i.image_id for i in images]
    broken = by_id(local)["broken"]
    assert isinstance(broken, Unanswered)
    assert (broken.reason, broken.is_refusal) == ("MALFORMED_DICOM", True)
    answered = [o for o in local if isinstance(o, Answered)]
    assert len(answered) == 10
    assert {len(o.prediction.members) for o in answered} == {2}


def test_suppressed_findings_are_kept_as_such(tmp_path, images):
    bundle = write_tiny_bundle_at(tmp_path / "bundle")
    _, outcomes = local_answers(bundle, images)
    dark = by_id(outcomes)["image0"].prediction
    assert not dark.abnormal
    assert dark.boxes
    assert not any(box.kept for box in dark.boxes)
    bright = by_id(outcomes)["image8"].prediction
    assert bright.abnormal
    assert all(box.kept for box in bright.boxes)


def write_tiny_bundle_at(directory):
    directory.mkdir()
    return write_tiny_bundle(directory, tiny_spec())


def test_a_server_is_asked_for_every_output(images):
    engine = ScriptedEngine()
    with front_in_a_thread(engine) as front, server_source(front.address, None) as s:
        list(s.answers(images))
    assert {request.outputs for request in engine.requests} == {frozenset(Output)}


def test_images_refused_for_now_are_sent_again(images):
    engine = BusyEngine()
    engine.busy = 4
    with (
        front_in_a_thread(engine) as front,
        server_source(front.address, None) as source,
    ):
        outcomes = list(source.answers(images))
    assert sorted(o.image_id for o in outcomes) == sorted(i.image_id for i in images)
    assert all(isinstance(outcome, Answered) for outcome in outcomes)


def test_a_server_that_never_has_room_leaves_images_for_the_next_run(images):
    full = Overloaded(Reason.QUEUE_FULL, "retry later")
    full.retry_after_ms = 1
    with (
        front_in_a_thread(ScriptedEngine(refusal=full)) as front,
        server_source(front.address, None) as source,
    ):
        [outcome] = source.answers(images[:1])
    assert (outcome.reason, outcome.is_refusal) == ("QUEUE_FULL", False)


def test_a_refusal_keeps_its_reason(images):
    engine = ScriptedEngine(UnsupportedFrame(Reason.COLOUR_IMAGE, "send it in grey"))
    with front_in_a_thread(engine) as front, server_source(front.address, None) as s:
        [outcome] = s.answers(images[:1])
    assert (outcome.reason, outcome.message) == ("COLOUR_IMAGE", "send it in grey")
    assert outcome.is_refusal


def test_a_server_of_another_bundle_is_refused(tmp_path):
    bundle = load_bundle(write_tiny_bundle_at(tmp_path / "bundle"))
    with (
        front_in_a_thread(ScriptedEngine()) as front,
        pytest.raises(AnswersLost, match="not the bundle at"),
        server_source(front.address, bundle),
    ):
        pass


def test_a_server_that_is_not_there_is_named():
    with (
        pytest.raises(AnswersLost, match=r"no answer from 127\.0\.0\.1:1: "),
        server_source("127.0.0.1:1", None, ready_timeout_s=0.2),
    ):
        pass


class ChangedClient:
    """A client of a server that says `origin` with every answer."""

    def __init__(self, **origin):
        begun = {"bundle_sha256": "ab" * 32, "backend": "scripted 1"}
        self.origin = pb.Provenance(**(begun | {"precision": "fp32"} | origin))

    def stream(self, frames, *, in_order):
        for frame in frames:
            result = result_of(b"bytes")
            result.frame_id = frame.options.frame_id
            result.provenance.CopyFrom(self.origin)
            yield result


@pytest.mark.parametrize(
    "change",
    [
        {"bundle_sha256": "cd" * 32},
        {"backend": "scripted 2"},
        {"precision": "fp16"},
        {"degraded": True},
    ],
)
def test_a_server_that_changes_meanwhile_is_not_evaluated_on(images, change):
    same = ServerSource(ChangedClient(), subject())
    assert len(list(same.answers(images))) == len(images)
    changed = ServerSource(ChangedClient(**change), subject())
    with pytest.raises(AnswersLost, match="the server changed while it was evaluated"):
        list(changed.answers(images))


class EndingEngine(ScriptedEngine):
    """The server shuts down with its second frame."""

    front = None

    def submit(self, request):
        future = super().submit(request)
        if len(self.requests) == 2:
            self.front.service.drain()
        return future


def test_a_server_that_ends_keeps_what_it_answered(images):
    engine = EndingEngine()
    answered = []
    with front_in_a_thread(engine) as front, server_source(front.address, None) as s:
        engine.front = front
        with pytest.raises(AnswersLost, match="run again to continue"):
            answered.extend(s.answers(images * 5))
