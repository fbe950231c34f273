"""Tensors in shared memory, in and out, over a real socket."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest
from support.bundles import tiny_spec
from support.engines import tiny_bundle
from support.kserves import (
    MONOCHROME2,
    arrays_of,
    frame_image,
    infer,
    kserving,
    request_of,
    set_parameter,
)
from support.shared_memory import shared_object as made_object
from support.wires import error_info

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.config import ServerSettings
from spinert.runtime.frame import bytes_of

SHARED = ServerSettings(listen="127.0.0.1:0", shared_memory=True)
PIXELS = frame_image()


@pytest.fixture
def shared_object():
    """Yield a function that makes a shared memory object of some bytes."""
    with ExitStack() as made:
        yield lambda data: made.enter_context(made_object(data)).key


def in_region(request, region, size, offset=0, index=0):
    """Say that an input lies in a region instead of the message."""
    del request.raw_input_contents[index]
    place(request.inputs[index], region, size, offset)
    return request


def place(tensor, region, size, offset=0):
    set_parameter(tensor.parameters["shared_memory_region"], region)
    set_parameter(tensor.parameters["shared_memory_byte_size"], size)
    if offset:
        set_parameter(tensor.parameters["shared_memory_offset"], offset)


def register(served, name, key, size, offset=0):
    return served.stub.SystemSharedMemoryRegister(
        oip.SystemSharedMemoryRegisterRequest(
            name=name, key=key, offset=offset, byte_size=size
        )
    )


def spine_request():
    return request_of("spine", {"image": PIXELS}, parameters=MONOCHROME2)


def test_pixels_in_shared_memory_are_answered_alike(bundle, shared_object):
    key = shared_object(b"xx" + b"yy" + PIXELS.tobytes())

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            await register(served, "in", key, PIXELS.nbytes + 2, offset=2)
            there = in_region(spine_request(), "in", PIXELS.nbytes, offset=2)
            return (
                await served.stub.ModelInfer(there),
                await served.stub.ModelInfer(spine_request()),
            )

    there, here = asyncio.run(main())
    assert there.raw_output_contents == here.raw_output_contents


def test_samples_in_shared_memory_are_answered_alike(tmp_path, shared_object):
    spec = tiny_spec()
    spec.networks["detector"].input.canvas.shortest_edge.max_long_edge = 320
    bundle = tiny_bundle(tmp_path, spec)
    # Enough to be copied on another thread.
    images = np.random.default_rng(1).integers(0, 256, (4, 1, 320, 320), np.uint8)
    sizes = np.tile(np.int32([320, 320]), (4, 1))
    request = request_of("detector", {"image": images, "image_size": sizes})
    key = shared_object(images.tobytes())

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            await register(served, "in", key, images.nbytes)
            here = await served.stub.ModelInfer(request)
            there = in_region(request, "in", images.nbytes)
            return await served.stub.ModelInfer(there), here

    there, here = asyncio.run(main())
    assert there.raw_output_contents == here.raw_output_contents


def test_a_file_in_shared_memory_may_be_shorter_than_its_region(bundle, shared_object):
    file = bytes(128) + b"DICM" + b"rest"
    key = shared_object(len(file).to_bytes(4, "little") + file + b"stale")
    seen = []

    async def main():
        async with kserving(bundle, server=SHARED, decoder=Listening(seen)) as served:
            await register(served, "in", key, len(file) + 9)
            request = request_of("spine", {"frame": b""})
            call = served.stub.ModelInfer(in_region(request, "in", len(file) + 9))
            with pytest.raises(grpc.aio.AioRpcError):
                await call

    asyncio.run(main())
    assert seen == [file]


class Listening:
    """A decoder that notes what it gets, and refuses it."""

    def __init__(self, seen):
        self.seen = seen

    def submit(self, content, timeout_s=None, *, priority=None):
        self.seen.append(bytes(bytes_of(content.data)))
        raise ValueError("enough")


def test_outputs_go_where_they_are_asked_to(bundle, shared_object):
    key = shared_object(bytes(4096))

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            await register(served, "out", key, 4096)
            request = spine_request()
            for i, name in enumerate(("boxes", "abnormal_probability", "class_names")):
                place(request.outputs.add(name=name), "out", 1024, offset=1024 * i)
            request.outputs.add(name="threshold")
            return await served.stub.ModelInfer(request)

    response = asyncio.run(main())
    [here] = infer(bundle, spine_request())
    expected = arrays_of(here)
    written = (Path("/dev/shm") / key[1:]).read_bytes()
    sizes = [
        output.parameters["shared_memory_byte_size"].int64_param
        for output in response.outputs[:3]
    ]
    boxes = np.frombuffer(written, np.float32, sizes[0] // 4).reshape(-1, 4)
    np.testing.assert_array_equal(boxes, expected["boxes"])
    assert list(response.outputs[0].shape) == list(boxes.shape)
    probability = np.frombuffer(written, np.float64, 1, 1024)
    assert probability.tolist() == expected["abnormal_probability"].tolist()
    assert written[2048 : 2048 + 4] == (11).to_bytes(4, "little")
    assert written[2052 : 2052 + 11] == b"Osteophytes"
    assert [bool(data) for data in response.raw_output_contents] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("region", "size", "reason"),
    [
        ("unknown", PIXELS.nbytes, "REGION_UNKNOWN"),
        ("in", PIXELS.nbytes + 2, "SHARED_MEMORY_TOO_SMALL"),
        ("in", PIXELS.nbytes - 2, "TENSOR_INVALID"),
        ("in", -1, "REGION_INVALID"),
    ],
)
def test_a_region_that_does_not_fit_is_refused(
    bundle, shared_object, region, size, reason
):
    key = shared_object(PIXELS.tobytes())

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            await register(served, "in", key, PIXELS.nbytes)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.stub.ModelInfer(in_region(spine_request(), region, size))
            return refused.value

    assert error_info(asyncio.run(main())).reason == reason


def test_an_output_that_does_not_fit_is_refused(bundle, shared_object):
    key = shared_object(bytes(64))

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            await register(served, "out", key, 64)
            request = spine_request()
            place(request.outputs.add(name="boxes"), "out", 64)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.stub.ModelInfer(request)
            return refused.value

    assert error_info(asyncio.run(main())).reason == "TENSOR_INVALID"
    assert (Path("/dev/shm") / key[1:]).read_bytes() == bytes(64)


@pytest.mark.parametrize(
    ("region", "offset", "length", "reason"),
    [
        ("unknown", 0, 64, "REGION_UNKNOWN"),
        ("out", 64, 1, "SHARED_MEMORY_TOO_SMALL"),
        ("out", 32, 33, "SHARED_MEMORY_TOO_SMALL"),
        ("out", 0, 65, "SHARED_MEMORY_TOO_SMALL"),
        ("out", -1, 1, "REGION_INVALID"),
    ],
)
def test_an_output_that_has_no_place_is_refused_before_anything_is_computed(
    bundle, shared_object, region, offset, length, reason
):
    key = shared_object(bytes(100))

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            await register(served, "out", key, 64)
            request = spine_request()
            place(request.outputs.add(name="boxes"), region, length, offset)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.stub.ModelInfer(request)
            return refused.value, served.backend.calls

    refused, calls = asyncio.run(main())
    assert error_info(refused).reason == reason
    assert calls == []


def test_regions_are_listed_and_forgotten(bundle, shared_object):
    key = shared_object(bytes(100))
    all_regions = oip.SystemSharedMemoryStatusRequest()

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            stub = served.stub
            await register(served, "a", key, 10, offset=5)
            await register(served, "b", key, 20)
            both = await stub.SystemSharedMemoryStatus(all_regions)
            one = await stub.SystemSharedMemoryStatus(
                oip.SystemSharedMemoryStatusRequest(name="b")
            )
            await stub.SystemSharedMemoryUnregister(
                oip.SystemSharedMemoryUnregisterRequest(name="a")
            )
            left = await stub.SystemSharedMemoryStatus(all_regions)
            await stub.SystemSharedMemoryUnregister(
                oip.SystemSharedMemoryUnregisterRequest()
            )
            none = await stub.SystemSharedMemoryStatus(all_regions)
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await stub.SystemSharedMemoryStatus(
                    oip.SystemSharedMemoryStatusRequest(name="b")
                )
            return both, one, left, none, unknown.value

    both, one, left, none, unknown = asyncio.run(main())
    told = both.regions["a"]
    assert (told.name, told.key, told.offset, told.byte_size) == ("a", key, 5, 10)
    assert [set(r.regions) for r in (both, one, left, none)] == [
        {"a", "b"},
        {"b"},
        {"b"},
        set(),
    ]
    assert error_info(unknown).reason == "REGION_UNKNOWN"


def test_outputs_are_written_to_no_object_of_another_name(bundle):
    other = Path("/dev/shm") / f"another-{uuid4().hex}"
    other.touch(0o600)
    other.write_bytes(b"precious")

    async def main():
        async with kserving(bundle, server=SHARED) as served:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await register(served, "out", f"/{other.name}", 8)
            return refused.value

    try:
        refused = asyncio.run(main())
    finally:
        other.unlink()
    assert error_info(refused).reason == "SHARED_MEMORY_FORBIDDEN"
    assert "server.shared_memory_prefix" in refused.details()


def test_shared_memory_is_off_until_configured(bundle, shared_object):
    key = shared_object(bytes(100))

    async def main():
        async with kserving(bundle) as served:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await register(served, "a", key, 10)
            cuda = await served.stub.CudaSharedMemoryStatus(
                oip.CudaSharedMemoryStatusRequest()
            )
            return refused.value, cuda

    refused, cuda = asyncio.run(main())
    assert error_info(refused).reason == "SHARED_MEMORY_OFF"
    assert not cuda.regions
