"""Analyze, GetServerInfo and health over a real socket."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.fronts import ScriptedEngine, answer_with, identity, serving_front
from support.wires import error_info, raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import (
    DecodeSettings,
    EngineSettings,
    ServerSettings,
    Settings,
)
from spinert.runtime.errors import (
    DeadlineExceeded,
    Overloaded,
    Reason,
    Unavailable,
    UnsupportedFrame,
)
from spinert.runtime.frame import Priority
from spinert.runtime.server.front import Front
from spinert.runtime.server.service import SERVICE, limits_from_settings
from spinert.runtime.verdict import Output

LOOPBACK = ServerSettings(listen="127.0.0.1:0")


def analyze(request, engine=None, **call_options):
    """Return the reply to one request, or the error it ends in."""

    async def main():
        async with (
            serving_front(engine or ScriptedEngine()) as front,
            stub_of(front.address) as stub,
        ):
            try:
                return await stub.Analyze(request, **call_options)
            except grpc.aio.AioRpcError as error:
                return error

    return asyncio.run(main())


def test_a_frame_is_answered_with_verdict_receipt_and_provenance():
    frame = raw_frame("left/1", 7)
    result = analyze(pb.AnalyzeRequest(frame=frame)).result
    assert (result.frame_id, result.sequence) == ("left/1", 7)
    assert result.verdict.decision == pb.DECISION_ABNORMAL
    finding = result.verdict.findings[0]
    assert (finding.class_name, finding.code.scheme) == ("Surgical implant", "99TEST")
    assert not finding.HasField("box_mm")
    assert result.receipt.stages[0].duration_ms == pytest.approx(2)
    assert result.provenance.bundle_name == "tiny"
    assert result.provenance.input_sha256 == "ab" * 32
    assert identity().provenance.input_sha256 == ""
    assert not result.HasField("study")


def test_a_frame_of_a_study_has_a_study_verdict_of_its_own():
    frame = raw_frame("a", study_uid="1.2.3")
    study = analyze(pb.AnalyzeRequest(frame=frame)).result.study
    assert (study.study_uid, study.frames, study.worst_frame_id) == ("1.2.3", 1, "a")


def test_the_study_of_a_dicom_file_is_used_where_the_client_names_none():
    engine = ScriptedEngine(answer_with(study_uid="1.9"))
    result = analyze(pb.AnalyzeRequest(frame=raw_frame("a")), engine).result
    assert (result.study_uid, result.study.study_uid) == ("1.9", "1.9")
    named = pb.AnalyzeRequest(frame=raw_frame("a", study_uid="1.2"))
    result = analyze(named, engine).result
    assert (result.study_uid, result.study.study_uid) == ("1.2", "1.2")


def test_study_and_series_are_echoed():
    frame = raw_frame("a", study_uid="1.2.3", series_uid="1.2.3.4")
    result = analyze(pb.AnalyzeRequest(frame=frame)).result
    assert (result.study_uid, result.series_uid) == ("1.2.3", "1.2.3.4")
    unnamed = analyze(pb.AnalyzeRequest(frame=raw_frame("a"))).result
    assert (unnamed.study_uid, unnamed.series_uid) == ("", "")


def test_the_limits_are_those_of_the_decoder():
    decode = DecodeSettings(min_edge_px=70, max_edge_px=5000)
    limits = limits_from_settings(Settings(decode=decode))
    assert (limits.min_rows, limits.min_columns) == (70, 70)
    assert (limits.max_rows, limits.max_columns) == (5000, 5000)


def test_what_was_asked_for_reaches_the_engine():
    engine = ScriptedEngine()
    frame = raw_frame(
        priority=pb.PRIORITY_STAT,
        outputs=[pb.OUTPUT_FINDINGS, pb.OUTPUT_SUPPRESSED],
        timeout_ms=5000,
    )
    frame.raw.window.CopyFrom(pb.Window(window_center=5, window_width=4))
    analyze(pb.AnalyzeRequest(frame=frame, device="room 1"), engine)
    [request] = engine.requests
    assert request.device == "room 1"
    assert request.priority is Priority.STAT
    assert request.outputs == {Output.FINDINGS, Output.SUPPRESSED}
    assert request.deadline_s - request.arrived_s == pytest.approx(5)
    assert bytes(request.content.data) == b"123456"
    assert request.content.window.width == 4
    assert request.content.rescale is None


@pytest.mark.parametrize(("own_s", "call_s"), [(500, 30), (30, 500)])
def test_the_earlier_of_both_deadlines_counts(own_s, call_s):
    engine = ScriptedEngine()
    frame = raw_frame(timeout_ms=own_s * 1000)
    analyze(pb.AnalyzeRequest(frame=frame), engine, timeout=call_s)
    [request] = engine.requests
    assert 0 < request.deadline_s - request.arrived_s < 100


@pytest.mark.parametrize("own_ms", [0, 2**32 - 1], ids=["of the call", "of both"])
def test_a_deadline_beyond_a_day_is_none(own_ms):
    engine = ScriptedEngine()
    request = pb.AnalyzeRequest(frame=raw_frame(timeout_ms=own_ms))
    analyze(request, engine, timeout=90_000)
    assert engine.requests[0].deadline_s is None


def test_clients_without_a_name_do_not_share_a_quota():
    async def main():
        engine = ScriptedEngine()
        async with serving_front(engine) as front:
            for _ in range(2):
                async with stub_of(front.address) as stub:
                    await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame()))
        return [request.device for request in engine.requests]

    first, second = asyncio.run(main())
    assert first
    assert second not in ("", first)


@pytest.mark.parametrize(
    ("engine", "credit"),
    [
        (EngineSettings(), 16),
        (EngineSettings(max_frames_per_device=3), 3),
        (EngineSettings(max_frames=5), 5),
    ],
)
def test_credit_is_no_more_than_the_engine_admits(engine, credit):
    settings = Settings(engine=engine)
    assert limits_from_settings(settings).max_frames_in_flight == credit


REFUSED = {
    "no frame": (pb.AnalyzeRequest(), Reason.EMPTY_FRAME),
    "no content": (pb.AnalyzeRequest(frame=pb.Frame()), Reason.EMPTY_FRAME),
    "no bytes": (pb.AnalyzeRequest(frame=pb.Frame(dicom=b"")), Reason.EMPTY_FRAME),
    "long id": (
        pb.AnalyzeRequest(frame=raw_frame("é" * 65)),
        Reason.FIELD_TOO_LONG,
    ),
    "long device": (
        pb.AnalyzeRequest(frame=raw_frame(), device="x" * 65),
        Reason.FIELD_TOO_LONG,
    ),
    "long uid": (
        pb.AnalyzeRequest(frame=raw_frame(study_uid="1" * 65)),
        Reason.FIELD_TOO_LONG,
    ),
    "unknown priority": (
        pb.AnalyzeRequest(frame=raw_frame(priority=9)),
        Reason.MALFORMED_MESSAGE,
    ),
    "unknown output": (
        pb.AnalyzeRequest(frame=raw_frame(outputs=[9])),
        Reason.MALFORMED_MESSAGE,
    ),
    "too many outputs": (
        pb.AnalyzeRequest(frame=raw_frame(outputs=[1] * 9)),
        Reason.MALFORMED_MESSAGE,
    ),
    "no photometric interpretation": (
        pb.AnalyzeRequest(frame=pb.Frame(raw=pb.RawImage(pixels=b"1"))),
        Reason.MALFORMED_RAW_IMAGE,
    ),
}


@pytest.mark.parametrize(("request_", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_request_that_means_nothing_is_refused(request_, reason):
    engine = ScriptedEngine()
    error = analyze(request_, engine)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == reason
    assert not engine.requests


def test_identifiers_may_be_as_long_as_the_contract_says():
    frame = raw_frame("é" * 64, study_uid="1" * 64)
    assert analyze(pb.AnalyzeRequest(frame=frame, device="d" * 64)).result.frame_id


@pytest.mark.parametrize(
    "method", ["Analyze", "GetServerInfo", "RegisterRegion", "UnregisterRegion"]
)
def test_bytes_that_are_no_message_are_refused(method):
    async def main():
        async with (
            serving_front(ScriptedEngine()) as front,
            grpc.aio.insecure_channel(front.address) as channel,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/{SERVICE}/{method}")(b"\xff\xff")
            return caught.value

    error = asyncio.run(main())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == Reason.MALFORMED_MESSAGE
    assert error.details().startswith(f"not a {method}Request of package spinert.v1")


def pointless(error):
    error.retry_after_ms = 0
    return error


ERRORS = [
    (
        UnsupportedFrame(Reason.COLOUR_IMAGE, "send it in grey"),
        grpc.StatusCode.INVALID_ARGUMENT,
        None,
        None,
    ),
    (
        DeadlineExceeded(Reason.DEADLINE_EXCEEDED, "too late"),
        grpc.StatusCode.DEADLINE_EXCEEDED,
        None,
        None,
    ),
    (
        Overloaded(Reason.QUEUE_FULL, "try later"),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "100",
        "100",
    ),
    (
        pointless(Overloaded(Reason.DEADLINE_UNREACHABLE, "allow more time")),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        None,
        "-1",
    ),
    (
        pointless(Unavailable(Reason.NOT_READY, "ended")),
        grpc.StatusCode.UNAVAILABLE,
        None,
        "-1",
    ),
]


@pytest.mark.parametrize(("cause", "code", "retry_ms", "pushback_ms"), ERRORS)
@pytest.mark.parametrize("at", ["outcome", "refusal"])
def test_an_error_of_ours_is_a_status_with_a_reason(
    cause, code, retry_ms, pushback_ms, at
):
    engine = ScriptedEngine(**{at: cause})
    error = analyze(pb.AnalyzeRequest(frame=raw_frame()), engine)
    assert (error.code(), error.details()) == (code, cause.message)
    info = error_info(error)
    assert info.reason == cause.reason
    assert info.metadata.get("retry_after_ms") == retry_ms
    trailers = dict(error.trailing_metadata())
    assert trailers.get("grpc-retry-pushback-ms") == pushback_ms


def test_a_bug_is_internal_and_keeps_its_text_to_itself():
    engine = ScriptedEngine(ValueError("Doe^Jane"))
    error = analyze(pb.AnalyzeRequest(frame=raw_frame()), engine)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error_info(error).reason == Reason.INTERNAL
    assert "Doe" not in error.details()
    assert "reference" in error.details()


def test_a_cancelled_call_withdraws_its_frame():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with serving_front(engine) as front, stub_of(front.address) as stub:
            call = stub.Analyze(pb.AnalyzeRequest(frame=raw_frame()))
            await engine.has(1)
            call.cancel()
            withdrawn = asyncio.Event()
            loop = asyncio.get_running_loop()
            engine.futures[0].add_done_callback(
                lambda _: loop.call_soon_threadsafe(withdrawn.set)
            )
            await withdrawn.wait()
            await front.service.idle()
            return engine.futures[0].cancelled()

    assert asyncio.run(main())


def test_an_expired_call_withdraws_its_frame():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with serving_front(engine) as front, stub_of(front.address) as stub:
            call = stub.Analyze(pb.AnalyzeRequest(frame=raw_frame()), timeout=0.2)
            code = await call.code()
            await front.service.idle()
            return code, engine.futures[0].cancelled()

    assert asyncio.run(main()) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)


def test_a_server_says_what_it_is():
    async def main():
        async with (
            serving_front(ScriptedEngine()) as front,
            stub_of(front.address) as stub,
        ):
            return await stub.GetServerInfo(pb.GetServerInfoRequest())

    info = asyncio.run(main())
    assert info.bundle_name == "tiny"
    assert info.class_names[0] == "Osteophytes"
    assert info.limits.max_message_bytes == 64 * 2**20
    assert "not a medical device" in info.disclaimer
    assert info.networks[0].role == "classifier"


async def statuses(address):
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        replies = [
            await health.Check(health_pb2.HealthCheckRequest(service=name))
            for name in ("", SERVICE)
        ]
        return {reply.status for reply in replies}


def test_until_ready_it_says_not_serving_and_refuses_everything():
    async def main():
        limits = limits_from_settings(Settings(server=LOOPBACK))
        async with Front(LOOPBACK, limits) as front, stub_of(front.address) as stub:
            calls = (
                stub.Analyze(pb.AnalyzeRequest(frame=raw_frame())),
                stub.GetServerInfo(pb.GetServerInfoRequest()),
                stub.Stream(iter([pb.StreamRequest(open=pb.Open())])).read(),
            )
            return await statuses(front.address), await asyncio.gather(
                *calls, return_exceptions=True
            )

    health, errors = asyncio.run(main())
    assert health == {health_pb2.HealthCheckResponse.NOT_SERVING}
    assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
    assert {error_info(error).reason for error in errors} == {Reason.NOT_READY}


def test_a_draining_server_finishes_what_it_has_and_takes_no_more():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with serving_front(engine) as front, stub_of(front.address) as stub:
            before = await statuses(front.address)
            call = stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("kept")))
            await engine.has(1)
            await front.drain()
            after = await statuses(front.address)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("late")))
            engine.finish(0)
            return before, after, error_info(caught.value), await call

    before, after, info, reply = asyncio.run(main())
    assert before == {health_pb2.HealthCheckResponse.SERVING}
    assert after == {health_pb2.HealthCheckResponse.NOT_SERVING}
    assert info.reason == Reason.SHUTTING_DOWN
    assert info.metadata["retry_after_ms"] == "1000"
    assert reply.result.frame_id == "kept"


def list_services(address):
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    with grpc.insecure_channel(address) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


@pytest.mark.parametrize("reflection", [True, False])
def test_reflection_is_on_where_asked_for(reflection):
    async def main():
        settings = ServerSettings(listen="127.0.0.1:0", reflection=reflection)
        async with serving_front(ScriptedEngine(), settings) as front:
            return await asyncio.to_thread(list_services, front.address)

    if reflection:
        assert {SERVICE, "grpc.health.v1.Health"} <= asyncio.run(main())
    else:
        with pytest.raises(grpc.RpcError) as caught:
            asyncio.run(main())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
