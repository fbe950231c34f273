"""ModelStreamInfer over a real socket."""

import asyncio

import grpc
import numpy as np
import pytest
from support.fronts import ScriptedEngine
from support.kserves import MONOCHROME2, arrays_of, frame_image, kserving, request_of
from support.wires import error_info

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import Overloaded, Reason, Unavailable
from spinert.runtime.kserve.calls import Received
from spinert.runtime.kserve.stream import InferStream

ROOMY = ServerSettings(listen="127.0.0.1:0")
TWO_AT_ONCE = ServerSettings(listen="127.0.0.1:0", max_frames_in_flight=2)


def numbered(number, model="classifier", **options):
    """Return a request whose id is a number, which is also its grey level."""
    images = np.full((1, 1, 32, 32), number, np.uint8)
    return request_of(model, {"image": images}, id=str(number), **options)


def pixels(number, **options):
    inputs = {"image": frame_image()}
    options = {"parameters": MONOCHROME2, "id": str(number)} | options
    return request_of("spine", inputs, **options)


async def replies_to(served, requests):
    call = served.stub.ModelStreamInfer()
    for request in requests:
        await call.write(request)
    await call.done_writing()
    return [reply async for reply in call]


def test_answers_come_in_the_order_of_the_requests(bundle):
    async def main():
        async with kserving(bundle) as served:
            return await replies_to(served, [numbered(i) for i in range(0, 250, 10)])

    replies = asyncio.run(main())
    assert [r.infer_response.id for r in replies] == [str(i) for i in range(0, 250, 10)]
    assert not any(reply.error_message for reply in replies)
    logits = [arrays_of(r.infer_response)["logits"][0, 0] for r in replies]
    assert logits == sorted(logits)
    assert len(set(logits)) == len(replies)
    assert not replies[0].infer_response.parameters


def test_an_answer_waits_for_those_before_it(bundle):
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with kserving(bundle, engine=engine) as served:
            call = served.stub.ModelStreamInfer()
            for i in range(2):
                await call.write(pixels(i))
            await engine.has(2)
            engine.finish(1)
            first = asyncio.ensure_future(call.read())
            await asyncio.sleep(0.05)
            assert not first.done()
            engine.finish(0)
            return [await first, await call.read()]

    replies = asyncio.run(main())
    assert [r.infer_response.id for r in replies] == ["0", "1"]


def test_a_bad_request_is_answered_in_its_place_and_the_stream_lives_on(bundle):
    bad = numbered(2)
    bad.inputs[0].datatype = "FP32"
    wanting = numbered(3, parameters={"triton_enable_empty_final_response": True})

    async def main():
        async with kserving(bundle) as served:
            return await replies_to(
                served, [numbered(1), bad, wanting, numbered(4, model="other")]
            )

    good, refused, last, unknown = asyncio.run(main())
    assert not good.error_message
    assert refused.error_message == "input image must be UINT8"
    told = refused.infer_response
    assert (told.id, told.model_name) == ("2", "classifier")
    assert told.parameters["status"].string_param == "INVALID_ARGUMENT"
    assert told.parameters["reason"].string_param == "TENSOR_INVALID"
    assert not told.outputs
    assert last.infer_response.parameters["triton_final_response"].bool_param
    assert unknown.infer_response.parameters["reason"].string_param == "MODEL_UNKNOWN"


def test_a_refusal_repeats_no_name_that_is_too_long(bundle):
    long = numbered(1)
    long.id, long.model_name = "x" * 129, "y" * 129

    async def main():
        async with kserving(bundle) as served:
            return await replies_to(served, [long, numbered(2, "other")])

    refused, unknown = asyncio.run(main())
    told = refused.infer_response
    assert (told.id, told.model_name) == ("", "")
    assert told.parameters["reason"].string_param == "MODEL_UNKNOWN"
    assert (unknown.infer_response.id, unknown.infer_response.model_name) == (
        "2",
        "other",
    )


def test_a_refusal_says_when_to_come_back(bundle):
    engine = ScriptedEngine(refusal=Overloaded(Reason.QUEUE_FULL, "full"))

    async def main():
        async with kserving(bundle, engine=engine) as served:
            [reply] = await replies_to(served, [pixels(0)])
            return reply.infer_response.parameters

    assert asyncio.run(main())["retry_after_ms"].double_param == 100


@pytest.mark.parametrize(
    ("server", "quotas"),
    [(TWO_AT_ONCE, {}), (ROOMY, {"max_frames_per_device": 2})],
    ids=["of the stream", "of the device"],
)
def test_no_more_requests_are_read_than_may_be_in_flight(bundle, server, quotas):
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with kserving(bundle, engine=engine, server=server, **quotas) as served:
            call = served.stub.ModelStreamInfer()

            async def write():
                for i in range(6):
                    await call.write(pixels(i))
                await call.done_writing()

            writing = asyncio.ensure_future(write())
            await engine.has(2)
            await asyncio.sleep(0.1)
            most = len(engine.requests)
            for i in range(6):
                if i >= 2:
                    await engine.has(1)
                engine.finish(i)
                assert (await call.read()).infer_response.id == str(i)
            await writing
            return most

    assert asyncio.run(main()) == 2


@pytest.mark.parametrize(("most", "taken"), [(ROOMY, 3), (TWO_AT_ONCE, 2)])
def test_a_broken_stream_withdraws_what_is_in_flight(bundle, most, taken):
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with kserving(bundle, engine=engine, server=most) as served:
            call = served.stub.ModelStreamInfer()
            for i in range(3):
                await call.write(pixels(i))
            await engine.has(taken)
            call.cancel()
            while not all(future.cancelled() for future in engine.futures):
                await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_draining_server_answers_what_it_has_read_and_ends_the_stream(bundle):
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with kserving(bundle, engine=engine) as served:
            call = served.stub.ModelStreamInfer()
            await call.write(pixels(0))
            await engine.has(1)
            await served.front.drain()
            engine.finish(0)
            reply = await call.read()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.stub.ModelInfer(pixels(1))
            return reply, ended.value, refused.value

    reply, ended, refused = asyncio.run(asyncio.wait_for(main(), 10))
    assert reply.infer_response.id == "0"
    assert not reply.error_message
    for error in (ended, refused):
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(error).reason == "SHUTTING_DOWN"


class Flood:
    """A call whose client has always sent another request."""

    def __init__(self):
        self.read_ids, self.written_ids = [], []

    async def read(self):
        await asyncio.sleep(0)
        self.read_ids.append(str(len(self.read_ids)))
        request = oip.ModelInferRequest(id=self.read_ids[-1])
        return Received(request=request, raw_contents=())

    async def write(self, reply):
        self.written_ids.append(reply.infer_response.id)


def test_every_request_that_was_read_is_answered_when_the_server_drains():
    ready = Unavailable(Reason.SHUTTING_DOWN, "later")

    async def main():
        flood, release = Flood(), asyncio.Event()

        async def answering(received):
            await release.wait()
            return oip.ModelInferResponse(id=received.request.id)

        stream = InferStream(answering, 2)
        running = asyncio.ensure_future(stream.run(flood))
        for _ in range(50):
            await asyncio.sleep(0)
        stream.drain(ready)
        release.set()
        with pytest.raises(Unavailable) as ended:
            await running
        return flood, ended.value

    flood, ended = asyncio.run(asyncio.wait_for(main(), 10))
    assert ended is ready
    assert flood.read_ids == flood.written_ids == ["0", "1"]
