"""What a stream is opened with: priority and live view."""

import asyncio
import time

import grpc
from support.engines import GatedBackend, pixels, running_engine, tiny_bundle
from support.streams import ids, on_stream, reasons, streaming, until

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason
from spinert.runtime.frame import Priority


def test_frames_that_name_no_priority_have_that_of_the_stream():
    async def script(stream, engine):
        await stream.frame("", 1)
        await stream.frame("", 2, priority=pb.PRIORITY_ROUTINE)
        await stream.rest()
        return [request.priority for request in engine.requests]

    told = on_stream(script, priority=pb.PRIORITY_STAT)
    assert told == [Priority.STAT, Priority.ROUTINE]
    assert on_stream(script) == [Priority.ROUTINE, Priority.ROUTINE]


def test_only_frames_of_a_live_view_name_one():
    async def script(stream, engine):
        await stream.frame("", 1)
        await stream.frame("", 2)
        await stream.rest()
        return {request.live_view for request in engine.requests}

    assert on_stream(script) == {""}
    views = [on_stream(script, latest_frame_wins=True) for _ in range(2)]
    assert [len(view) for view in views] == [1, 1]
    assert not views[0] & views[1] & {""}


def test_of_a_live_view_only_what_is_newest_follows_a_frame_on_its_way(tmp_path):
    backend = GatedBackend()
    limits = {"max_batch": 1, "max_delay_ms": 0, "clock": time.monotonic}

    async def main(engine):
        futures, submit = [], engine.submit
        engine.submit = lambda frame: futures.append(submit(frame)) or futures[-1]
        async with streaming(engine, latest_frame_wins=True) as (_, stream):
            backend.gate.clear()
            await stream.send(frame=seen("busy"))
            await asyncio.to_thread(backend.wait_until_running)
            for name in ("next", "stale", "staler", "newest"):
                await stream.send(frame=seen(name))
            await until(lambda: len(futures) == 5)
            backend.gate.set()
            return await stream.rest()

    with running_engine(tiny_bundle(tmp_path), backend, **limits) as engine:
        answers = asyncio.run(main(engine))
    assert ids(answers) == ["busy", "next", "stale", "staler", "newest"]
    assert reasons(answers) == ["", "", *[Reason.SUPERSEDED] * 2, ""]
    assert answers[2].code == grpc.StatusCode.ABORTED.value[0]
    assert backend.frames_run("classifier") == 3


def seen(name):
    """A frame large enough to be computed, for one network."""
    return pb.Frame(
        frame_id=name,
        outputs=[pb.OUTPUT_CLASSIFICATION],
        raw=pb.RawImage(
            rows=80,
            columns=64,
            bits_stored=8,
            photometric_interpretation=pb.MONOCHROME2,
            pixels=pixels().tobytes(),
        ),
    )
