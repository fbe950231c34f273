"""Whatever a request holds: it reaches the engine or is refused by a reason."""

import asyncio
import time

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fronts import identity
from support.kserves import (
    MONOCHROME2,
    frame_image,
    request_of,
    set_parameter,
    typed_request_of,
)
from support.shared_memory import ADMITTED, regions_in, shared_object

from spinert.runtime.config import Settings
from spinert.runtime.errors import Overloaded, Reason, SpinertError
from spinert.runtime.kserve.calls import Call, Received
from spinert.runtime.kserve.opening import (
    inference_from_engine,
    repository_from_bundle,
)
from spinert.runtime.kserve.spine import PARAMETERS
from spinert.runtime.server.peer_regions import PeerRegions

GREY = np.zeros((2, 1, 32, 32), np.uint8)
PEER = "unix:"
GENERAL = ("priority", "timeout", "device", "sequence_id", "sequence_start")
REGION = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")


def lent():
    request = request_of("classifier", {"image": GREY})
    del request.raw_input_contents[:]
    request.outputs.add(name="logits")
    for tensor, size in ((request.inputs[0], GREY.nbytes), (request.outputs[0], 64)):
        set_parameter(tensor.parameters["shared_memory_region"], "in")
        set_parameter(tensor.parameters["shared_memory_byte_size"], size)
    return request


GOOD = {
    "pixels": request_of("spine", {"image": frame_image()}, parameters=MONOCHROME2),
    "file": request_of("spine", {"frame": b"\xff\xd8\xff and so on"}),
    "samples": request_of("classifier", {"image": GREY}),
    "typed": typed_request_of("classifier", {"image": GREY}),
    "lent": lent(),
    "areas": request_of(
        "detector", {"image": GREY, "image_size": np.full((2, 2), 32, np.int32)}
    ),
}

sizes = st.sampled_from([-(2**63), -2, -1, 0, 1, 2, 32, 2**31, 2**62, 2**63 - 1])
values = st.one_of(
    sizes,
    st.booleans(),
    st.floats(),
    st.sampled_from(["", "in", "LINEAR", "SIGMOID", "MONOCHROME1", "\U0001f600" * 20]),
)
parameters = st.tuples(
    st.sampled_from([*GENERAL, *REGION, *PARAMETERS, "other"]), values
)
fields = st.sampled_from(
    ["uint_contents", "int_contents", "int64_contents", "fp32_contents"]
)
changes = st.one_of(
    st.tuples(st.just("shape"), st.lists(sizes, max_size=5)),
    st.tuples(st.just("size"), st.tuples(st.integers(0, 3), sizes)),
    st.tuples(
        st.just("datatype"), st.sampled_from(["UINT8", "BYTES", "FP32", "INT16", "x"])
    ),
    st.tuples(st.just("name"), st.sampled_from(["image", "frame", "image_size", ""])),
    st.tuples(st.just("input"), parameters),
    st.tuples(st.just("output"), parameters),
    st.tuples(st.just("request"), parameters),
    st.tuples(st.just("typed"), st.tuples(fields, st.sampled_from([0, 1, 2048, 5000]))),
    st.tuples(st.just("bytes"), st.lists(st.binary(max_size=9), max_size=3)),
    st.tuples(st.just("raw"), st.one_of(st.binary(max_size=9), st.just(bytes(2048)))),
)


def change(request, kind, value):
    tensor = request.inputs[0]
    if kind == "shape":
        tensor.shape[:] = value
    elif kind == "size":
        tensor.shape[value[0] % max(1, len(tensor.shape)) :] = [value[1]]
    elif kind in ("datatype", "name"):
        setattr(tensor, kind, value)
    elif kind == "typed":
        getattr(tensor.contents, value[0]).extend([1] * value[1])
    elif kind == "bytes":
        tensor.contents.bytes_contents.extend(value)
    elif kind == "raw":
        request.raw_input_contents[:] = [value]
    else:
        output = request.outputs[0] if request.outputs else request.outputs.add()
        holders = {"input": tensor, "output": output, "request": request}
        set_parameter(holders[kind].parameters[value[0]], value[1])


class FullEngine:
    """Has no room: what comes here was understood."""

    def submit(self, request):
        raise Overloaded(Reason.QUEUE_FULL, "retry later")

    def submit_tensor(self, request, content):
        return self.submit(request)


@pytest.fixture(scope="module")
def answer(bundle):
    """Yield a function that returns what a request ends in."""
    limits = Settings()
    inference = inference_from_engine(
        FullEngine(), bundle, limits, identity, time.monotonic
    )
    models = repository_from_bundle(bundle, limits)

    with (
        shared_object(bytes(4096)) as there,
        regions_in(there.path.parent, ADMITTED) as regions,
        asyncio.Runner() as runner,
    ):
        regions.register("in", there.key, 0, 4096)
        memory = PeerRegions(regions, PEER)

        def outcome(request):
            model = models.usable(request.model_name, "")
            contents = request.raw_input_contents
            received = Received(request=request, raw_contents=contents)
            call = Call(peer=PEER, remaining_s=None)
            try:
                runner.run(inference.answer(received, model, memory, call))
            except SpinertError as error:
                return error

        yield outcome


@pytest.mark.parametrize("name", GOOD)
def test_as_it_is_each_of_them_reaches_the_engine(answer, name):
    assert answer(GOOD[name]).reason == Reason.QUEUE_FULL


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from([*GOOD]), made=st.lists(changes, min_size=1, max_size=3))
def test_changed_at_will_it_reaches_the_engine_or_is_refused(answer, name, made):
    request = type(GOOD[name])()
    request.CopyFrom(GOOD[name])
    for kind, value in made:
        change(request, kind, value)
    error = answer(request)
    assert error.status is not grpc.StatusCode.INTERNAL
    assert "\n" not in error.message
