"""Frames in shared memory over a real socket."""

import asyncio
import time
from dataclasses import replace

import grpc
import pytest
from support.fronts import ScriptedEngine, answer_with, serving_front
from support.shared_memory import open_files, shared_object
from support.wires import error_info, opened, raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import Reason, RegionRefused
from spinert.runtime.frame import bytes_of
from spinert.runtime.server.peer_regions import PeerRegions
from spinert.runtime.server.region_rules import RegionLimits
from spinert.runtime.server.regions import Regions
from spinert.runtime.server.shared_frames import payload_from_received
from spinert.runtime.server.wire import ReceivedFrame

SHARED = ServerSettings(listen="127.0.0.1:0", shared_memory=True)
CONTENT = bytes(range(250)) * 4


def shared_frame(frame_id="", sequence=0, *, offset=10, length=6, region="r", **fields):
    frame = raw_frame(frame_id, sequence, **fields)
    frame.raw.pixels = b""
    frame.shared.CopyFrom(pb.SharedBytes(region=region, offset=offset, length=length))
    return frame


def with_front(script, settings=SHARED, engine=None):
    """Run `script(stub, object, engine)`."""

    async def main():
        used = engine or ScriptedEngine()
        with shared_object(CONTENT) as memory:
            async with (
                serving_front(used, settings) as front,
                stub_of(front.address) as stub,
            ):
                return await script(stub, memory, used)

    return asyncio.run(main())


def register(stub, memory, **changes):
    wanted = {"region": "r", "key": memory.key, "offset": 100, "length": 500}
    return stub.RegisterRegion(pb.RegisterRegionRequest(**(wanted | changes)))


async def reason_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_info(caught.value).reason


def test_a_frame_is_read_from_its_region_when_the_engine_needs_it():
    async def script(stub, memory, engine):
        await register(stub, memory)
        reply = await stub.Analyze(pb.AnalyzeRequest(frame=shared_frame("a")))
        assert reply.result.frame_id == "a"
        [request] = engine.requests
        assert request.content.data.nbytes == 6
        assert (request.content.rows, request.content.columns) == (2, 3)
        memory.write(b"LATER!", 110)
        assert bytes_of(request.content.data) == b"LATER!"
        memory.write(b"AFTER!", 110)
        assert bytes_of(request.content.data) == b"LATER!"

    with_front(script)


@pytest.mark.parametrize("kind", ["dicom", "encoded"])
def test_files_may_lie_in_a_region_too(kind):
    async def script(stub, memory, engine):
        await register(stub, memory)
        frame = pb.Frame(shared=pb.SharedBytes(region="r", offset=0, length=9))
        setattr(frame, kind, b"")
        await stub.Analyze(pb.AnalyzeRequest(frame=frame))
        assert bytes_of(engine.requests[0].content.data) == CONTENT[100:109]

    with_front(script)


def test_a_stream_answers_shared_frames_and_refuses_bad_ones_one_by_one():
    async def script(stub, memory, engine):
        await register(stub, memory)
        stream = await opened(stub)
        frames = (
            shared_frame("good", 1),
            shared_frame("behind", 2, offset=495),
            shared_frame("unknown", 3, region="s"),
            shared_frame("nothing", 4, length=0),
            raw_frame("inline", 5),
        )
        both = raw_frame("both", 6)
        both.shared.CopyFrom(frames[0].shared)
        for frame in (*frames, both):
            await stream.send(frame=frame)
        answers = await stream.rest()
        return [(a.frame_id, getattr(a, "reason", "")) for a in answers]

    assert with_front(script) == [
        ("good", ""),
        ("behind", Reason.SHARED_MEMORY_TOO_SMALL),
        ("unknown", Reason.REGION_UNKNOWN),
        ("nothing", Reason.REGION_INVALID),
        ("inline", ""),
        ("both", Reason.MALFORMED_MESSAGE),
    ]


def test_a_frame_in_flight_is_finished_when_its_region_is_gone():
    async def script(stub, memory, engine):
        await register(stub, memory)
        call = stub.Analyze(pb.AnalyzeRequest(frame=shared_frame("a")))
        await engine.has(1)
        await stub.UnregisterRegion(pb.UnregisterRegionRequest(region="r"))
        memory.path.unlink()
        late = stub.Analyze(pb.AnalyzeRequest(frame=shared_frame("b")))
        assert await reason_of(late) == Reason.REGION_UNKNOWN
        engine.finish(0)
        await call
        assert bytes_of(engine.requests[0].content.data) == CONTENT[110:116]

    with_front(script, engine=ScriptedEngine(is_held=True))


def test_a_frame_that_is_gone_when_it_is_needed_is_refused_by_name():
    def fetch(request):
        try:
            bytes_of(request.content.data)
        except Exception as error:
            return error
        return answer_with()

    async def script(stub, memory, engine):
        await register(stub, memory)
        memory.path.write_bytes(b"short")
        request = pb.AnalyzeRequest(frame=shared_frame("a"))
        return await reason_of(stub.Analyze(request))

    reason = with_front(script, engine=ScriptedEngine(outcome=fetch))
    assert reason == Reason.SHARED_MEMORY_TRUNCATED


def test_registering_says_what_is_wrong_and_unregistering_does_not_mind():
    async def script(stub, memory, engine):
        assert (
            await reason_of(register(stub, memory, length=1001))
            == Reason.SHARED_MEMORY_TOO_SMALL
        )
        assert (
            await reason_of(register(stub, memory, key="/spinert-not-there"))
            == Reason.SHARED_MEMORY_MISSING
        )
        await register(stub, memory)
        assert await reason_of(register(stub, memory)) == Reason.REGION_TAKEN
        for _ in range(2):
            await stub.UnregisterRegion(pb.UnregisterRegionRequest(region="r"))
        await register(stub, memory)

    with_front(script)


def test_a_server_does_not_touch_shared_memory_until_it_is_told_to():
    async def script(stub, memory, engine):
        analyze = stub.Analyze(pb.AnalyzeRequest(frame=shared_frame("a")))
        unregister = stub.UnregisterRegion(pb.UnregisterRegionRequest(region="r"))
        for call in (register(stub, memory), analyze, unregister):
            assert await reason_of(call) == Reason.SHARED_MEMORY_OFF

    with_front(script, replace(SHARED, shared_memory=False))


def test_a_peer_of_another_machine_has_no_part_in_shared_memory():
    regions = PeerRegions(Regions(RegionLimits(is_on=True)), "ipv4:192.0.2.1:4711")
    frame = shared_frame("a")
    received = ReceivedFrame(frame=frame, payload=b"")
    for call in (
        regions.local,
        lambda: regions.lend("r", 0, 1),
        lambda: regions.write("r", 0, b"x"),
        lambda: payload_from_received(regions, received),
    ):
        with pytest.raises(RegionRefused, match="of this machine") as caught:
            call()
        assert caught.value.reason is Reason.SHARED_MEMORY_NOT_LOCAL


def files_in_the_end():
    """Count open files; gRPC closes its sockets a moment after the server ended."""
    counts = []
    for _ in range(20):
        counts.append(open_files())
        time.sleep(0.02)
    return min(counts)


def test_a_server_that_ends_closes_its_regions():
    async def script(stub, memory, engine):
        await register(stub, memory)

    with_front(script)
    before = files_in_the_end()
    with_front(script)
    assert files_in_the_end() <= before
