"""ModelInfer over a real socket, front and engine; only the networks are fake."""

import asyncio
import json
import time

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from support.engines import GatedBackend, HeldDecoder, image
from support.kserves import (
    MONOCHROME2,
    arrays_of,
    frame_image,
    infer,
    kserving,
    request_of,
    scripted,
    typed_request_of,
)

from spinert.proto import inference_pb2 as pb
from spinert.proto import inference_pb2_grpc
from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.frame import DicomFrame, EncodedFrame, Priority
from spinert.runtime.image import Photometric, VoiFunction
from spinert.runtime.verdict import Output

PIXELS = frame_image()
PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
DICOM = bytes(128) + b"DICM" + b"rest"


def image_request(**options):
    return request_of("spine", {"image": PIXELS}, parameters=MONOCHROME2, **options)


async def analyzed(served):
    """Return what the other protocol says of the same pixels."""
    raw = pb.RawImage(
        rows=PIXELS.shape[0],
        columns=PIXELS.shape[1],
        bits_stored=16,
        photometric_interpretation=pb.MONOCHROME2,
        pixels=PIXELS.tobytes(),
    )
    stub = inference_pb2_grpc.SpineInferenceStub(served.channel)
    frame = pb.Frame(frame_id="one", raw=raw)
    return (await stub.Analyze(pb.AnalyzeRequest(frame=frame))).result


def test_raw_pixels_get_the_verdict_of_the_other_protocol(bundle):
    async def main():
        async with kserving(bundle) as served:
            response = await served.stub.ModelInfer(image_request(id="one"))
            return response, await analyzed(served)

    response, result = asyncio.run(main())
    found, verdict = arrays_of(response), result.verdict
    assert found["abnormal_probability"].tolist() == [verdict.abnormal_probability]
    assert found["threshold"].tolist() == [verdict.threshold]
    assert found["decision"].tolist() == [verdict.decision]
    assert found["assessment"].tolist() == [verdict.assessment]
    members = [member.probability for member in verdict.members]
    assert found["member_probabilities"].tolist() == members
    boxes = [
        [b.x_min, b.y_min, b.x_max, b.y_max] for b in (f.box for f in verdict.findings)
    ]
    assert len(boxes) == 8
    np.testing.assert_array_equal(found["boxes"], np.float32(boxes))
    scores = np.float32([f.score for f in verdict.findings])
    np.testing.assert_array_equal(found["scores"], scores)
    assert found["classes"].tolist() == [f.class_index for f in verdict.findings]
    assert found["class_names"] == [f.class_name.encode() for f in verdict.findings]
    assert "verdict" not in found
    assert (response.id, response.model_name, response.model_version) == (
        "one",
        "spine",
        "1",
    )
    told = {
        k: getattr(v, v.WhichOneof("parameter_choice"))
        for k, v in response.parameters.items()
    }
    assert told["input_sha256"] == result.provenance.input_sha256
    assert (told["bundle"], told["backend"], told["degraded"]) == (
        "tiny",
        "fake 1",
        False,
    )
    assert told["total_ms"] > 0


def test_an_answer_without_findings_has_tensors_of_no_boxes(bundle):
    """Suppressed by fusion: all scores of a dark image are below the cut-off."""
    dark = np.zeros_like(PIXELS)
    dark[0, 0] = 4095
    request = request_of("spine", {"image": dark}, parameters=MONOCHROME2)
    [response] = infer(bundle, request)
    found = arrays_of(response)
    assert found["boxes"].shape == (0, 4)
    assert found["class_names"] == []
    assert found["decision"].tolist() == [pb.DECISION_NORMAL]


def test_the_verdict_as_json_is_the_message_of_the_other_protocol(bundle):
    request = image_request(id="a", outputs=("verdict",))
    request.parameters["study_uid"].string_param = "1.2.3"
    [response] = infer(bundle, request)
    [text] = arrays_of(response)["verdict"]
    result = json_format.Parse(text, pb.Result())
    assert (result.frame_id, result.study_uid) == ("a", "1.2.3")
    assert result.verdict.findings
    # A value that happens to be zero is said, too.
    assert json.loads(text)["verdict"]["findings"][0]["box"]["x_min"] == 0


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        (("abnormal_probability",), {"classifier"}),
        (("decision", "assessment"), {"classifier"}),
        (("boxes",), {"classifier", "detector"}),
        (("verdict",), {"classifier", "detector"}),
    ],
)
def test_a_network_whose_outputs_nobody_wants_rests(bundle, outputs, wanted):
    backend = GatedBackend()
    [response] = infer(bundle, image_request(outputs=outputs), backend=backend)
    assert [output.name for output in response.outputs] == list(outputs)
    assert {role for role, _ in backend.calls} == wanted


@pytest.mark.parametrize(
    ("outputs", "parts"),
    [
        (("threshold",), {Output.CLASSIFICATION}),
        (("scores", "class_names"), {Output.FINDINGS}),
        (("decision", "boxes"), {Output.CLASSIFICATION, Output.FINDINGS}),
        (("verdict",), {Output.CLASSIFICATION, Output.FINDINGS}),
    ],
)
def test_only_the_parts_of_an_answer_that_are_wanted_are_asked_for(
    bundle, outputs, parts
):
    [given] = scripted(bundle, image_request(outputs=outputs)).requests
    assert given.outputs == parts


@pytest.mark.parametrize(("file", "kind"), [(PNG, EncodedFrame), (DICOM, DicomFrame)])
def test_a_file_goes_to_the_decoder_as_what_it_is(bundle, file, kind):
    decoder = HeldDecoder()
    request = request_of("spine", {"frame": file}, parameters={"priority": 1})

    async def main():
        async with kserving(bundle, decoder=decoder) as served:
            call = asyncio.ensure_future(served.stub.ModelInfer(request))
            while not decoder.futures:
                await asyncio.sleep(0.005)
            decoder.futures[0].set_result(image())
            return await call

    response = asyncio.run(main())
    [(content, _, priority)] = decoder.submitted
    assert type(content) is kind
    assert bytes(content.data) == file
    assert priority is Priority.STAT
    assert arrays_of(response)["boxes"].shape == (8, 4)


def test_parameters_say_what_pixels_mean(bundle):
    parameters = {
        "photometric_interpretation": "monochrome1",
        "bits_stored": 12,
        "window_center": 40,
        "window_width": 80.5,
        "voi_lut_function": "SIGMOID",
        "rescale_slope": 2.0,
        "rescale_intercept": -1.0,
        "row_spacing_mm": 0.2,
        "column_spacing_mm": 0.1,
        "device": "room 1",
        "priority": 1,
    }
    request = request_of(
        "spine", {"image": PIXELS.astype(np.int16)}, parameters=parameters
    )
    [given] = scripted(bundle, request).requests
    frame = given.content
    assert (frame.rows, frame.columns) == PIXELS.shape
    assert (frame.bits_stored, frame.is_signed) == (12, True)
    assert frame.photometric is Photometric.MONOCHROME1
    assert (frame.window.center, frame.window.width) == (40, 80.5)
    assert frame.window.function is VoiFunction.SIGMOID
    assert (frame.rescale.slope, frame.rescale.intercept) == (2, -1)
    assert (frame.spacing.row_mm, frame.spacing.column_mm) == (0.2, 0.1)
    assert bytes(frame.data) == PIXELS.tobytes()
    assert (given.device, given.priority) == ("room 1", Priority.STAT)
    assert given.outputs == {Output.CLASSIFICATION, Output.FINDINGS}


def test_without_parameters_pixels_use_all_bits_and_the_peer_is_the_device(bundle):
    [given] = scripted(bundle, image_request()).requests
    assert given.content.bits_stored == 16
    assert given.device.startswith("ipv4:127.0.0.1")
    assert given.priority is Priority.ROUTINE
    assert given.deadline_s is None


def test_the_earlier_of_timeout_and_deadline_counts(bundle):
    early = image_request()
    early.parameters["timeout"].int64_param = 2_000_000
    engine = scripted(bundle, early, early, timeouts=(None, 1.0))
    by_timeout, by_deadline = (r.deadline_s - r.arrived_s for r in engine.requests)
    assert by_timeout == pytest.approx(2)
    assert by_deadline < 1.5


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 32, 32)])
def test_a_classifier_alone_answers_as_the_network_does(bundle, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    backend = GatedBackend()
    [response] = infer(
        bundle, request_of("classifier", {"image": images}), backend=backend
    )
    expected = np.stack([images[i].mean() for i in range(len(images))]) / 255
    logits = arrays_of(response)["logits"]
    np.testing.assert_allclose(logits[:, 0], 8 * (expected - 0.5), rtol=1e-5)
    assert logits.shape == (shape[0], 2)
    assert {role for role, _ in backend.calls} == {"classifier"}


def test_a_detector_alone_answers_as_the_network_does(bundle):
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 96), np.uint8)
    sizes = np.array([[64, 96], [32, 48]], np.int32)
    request = request_of("detector", {"image": images, "image_size": sizes})
    [response] = infer(bundle, request)
    found = arrays_of(response)
    assert found["boxes"].shape == (2, 8, 4)
    # The fake network spreads its boxes over the valid area.
    np.testing.assert_allclose(found["boxes"][0], 2 * found["boxes"][1], rtol=1e-6)
    assert found["scores"].shape == found["labels"].shape == (2, 8)
    assert [o.datatype for o in response.outputs] == ["FP32", "FP32", "INT64"]


def test_requests_of_equal_size_share_a_batch(bundle):
    backend = GatedBackend()
    request = request_of("classifier", {"image": np.zeros((1, 1, 32, 32), np.uint8)})

    async def main():
        async with kserving(bundle, backend=backend, max_batch=2) as served:
            busy = await occupied(served)
            calls = [served.stub.ModelInfer(request) for _ in range(2)]
            await in_flight(served, 3)
            backend.gate.set()
            await asyncio.gather(busy, *calls)
            return await statistics_of(served, "classifier")

    stats = asyncio.run(main())
    assert ("classifier", (2, 1, 32, 32)) in backend.calls
    assert (stats.inference_count, stats.execution_count) == (2, 1)
    assert [b.batch_size for b in stats.batch_stats] == [2]


def test_few_elements_may_come_one_by_one(bundle):
    images = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32), np.uint8)
    raw, typed = infer(
        bundle,
        request_of("classifier", {"image": images}),
        typed_request_of("classifier", {"image": images}),
    )
    assert raw == typed


def test_the_engine_refuses_by_the_same_statuses(bundle):
    async def main():
        backend = GatedBackend()
        backend.gate.clear()
        async with kserving(bundle, backend=backend, max_frames=4) as served:
            images = np.zeros((4, 1, 32, 32), np.uint8)
            first = asyncio.ensure_future(
                served.stub.ModelInfer(request_of("classifier", {"image": images}))
            )
            await asyncio.to_thread(backend.wait_until_running)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.stub.ModelInfer(image_request())
            backend.gate.set()
            await first
            return refused.value

    error = asyncio.run(main())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"]


@pytest.mark.parametrize("model", ["spine", "classifier"])
def test_a_cancelled_request_frees_its_place_and_never_runs(bundle, model):
    request = (
        image_request()
        if model == "spine"
        else request_of(model, {"image": np.zeros((3, 1, 32, 32), np.uint8)})
    )

    async def main():
        backend = GatedBackend()
        async with kserving(bundle, backend=backend) as served:
            busy = await occupied(served)
            ran = len(backend.calls)
            call = served.stub.ModelInfer(request)
            waiting = asyncio.ensure_future(call)
            await in_flight(served, 2 if model == "spine" else 4)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await in_flight(served, 1)
            backend.gate.set()
            await busy
            return backend.calls[ran:], await statistics_of(served, model)

    calls, stats = asyncio.run(main())
    assert calls == []
    assert stats.inference_stats.fail.count == 1


def test_a_request_that_is_too_late_is_answered_at_its_deadline(bundle):
    request = request_of("classifier", {"image": np.zeros((1, 1, 32, 32), np.uint8)})
    request.parameters["timeout"].int64_param = 50_000

    async def main():
        backend = GatedBackend()
        backend.gate.clear()
        async with kserving(bundle, backend=backend) as served:
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await served.stub.ModelInfer(request)
            backend.gate.set()
            return late.value

    started_s = time.monotonic()
    error = asyncio.run(main())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started_s < 8


async def occupied(served):
    """Keep both networks busy until the gate opens; return the call that does."""
    served.backend.gate.clear()
    busy = asyncio.ensure_future(served.stub.ModelInfer(image_request()))
    await asyncio.to_thread(served.backend.wait_until_running, 2)
    return busy


async def in_flight(served, count):
    while served.engine.in_flight != count:
        await asyncio.sleep(0.005)


async def statistics_of(served, model):
    asked = oip.ModelStatisticsRequest(name=model)
    return (await served.stub.ModelStatistics(asked)).model_stats[0]
