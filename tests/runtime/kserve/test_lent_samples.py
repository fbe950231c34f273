"""Samples in shared memory: a request that is refused costs no copy of them."""

import asyncio
import time

import numpy as np
import pytest
from support.fronts import identity
from support.kserves import request_of, set_parameter

from spinert.runtime.config import Settings
from spinert.runtime.errors import Overloaded, ProtocolViolation, Reason
from spinert.runtime.kserve.calls import Call, Received
from spinert.runtime.kserve.opening import (
    inference_from_engine,
    repository_from_bundle,
)

IMAGES = np.zeros((2, 1, 64, 96), np.uint8)
SIZES = np.array([[64, 96], [32, 40]], np.int32)


class CountedSpan:
    """Bytes that count how often they are read."""

    def __init__(self, data):
        self.data, self.reads = data, 0

    @property
    def nbytes(self):
        return len(self.data)

    def fetch(self):
        self.reads += 1
        return self.data


class CountedMemory:
    """Shared memory of one region for each input, whatever they hold."""

    def __init__(self):
        self.spans = {}

    def lend(self, name, offset, length):
        return self.spans[name]

    def put(self, request, name, array):
        """Move an input of `request` into this memory."""
        [index] = [i for i, t in enumerate(request.inputs) if t.name == name]
        del request.raw_input_contents[index]
        self.spans[name] = CountedSpan(array.tobytes())
        parameters = request.inputs[index].parameters
        set_parameter(parameters["shared_memory_region"], name)
        set_parameter(parameters["shared_memory_byte_size"], array.nbytes)


class NotingEngine:
    """Has no room, once it has noted what it was asked."""

    def __init__(self):
        self.samples = []

    def submit_tensor(self, request, content):
        self.samples.append(content)
        raise Overloaded(Reason.QUEUE_FULL, "retry later")


def refused(bundle, images=IMAGES, sizes=SIZES, *, lent=("image_size", "image")):
    """Return the error of a request to the detector, its memory and its engine."""
    engine, memory, settings = NotingEngine(), CountedMemory(), Settings()
    inputs = {"image": images, "image_size": sizes}
    request = request_of("detector", inputs)
    for name in lent:
        memory.put(request, name, inputs[name])
    inference = inference_from_engine(
        engine, bundle, settings, identity, time.monotonic
    )
    model = repository_from_bundle(bundle, settings).usable("detector", "")
    received = Received(request=request, raw_contents=request.raw_input_contents)
    call = Call(peer="unix:", remaining_s=None)
    with pytest.raises((ProtocolViolation, Overloaded)) as caught:
        asyncio.run(inference.answer(received, model, memory, call))
    return caught.value, memory, engine


MANY = Settings().engine.max_batch + 1
BEYOND_LIMITS = {
    "too many samples": (np.zeros((MANY, 1, 32, 32), np.uint8), [[32, 32]] * MANY),
    "another number of samples": (IMAGES, SIZES[:1]),
    "a width no frame has": (np.zeros((2, 1, 64, 80), np.uint8), SIZES),
    "larger than any frame": (np.zeros((2, 1, 64, 8192), np.uint8), SIZES),
}


@pytest.mark.parametrize("name", BEYOND_LIMITS)
def test_samples_beyond_the_limits_are_refused_unread(bundle, name):
    images, sizes = BEYOND_LIMITS[name]
    error, memory, engine = refused(bundle, images, np.array(sizes, np.int32))
    assert error.reason == Reason.TENSOR_INVALID
    assert [span.reads for span in memory.spans.values()] == [0, 0]
    assert engine.samples == []


@pytest.mark.parametrize("lent", [("image",), ("image_size", "image")])
def test_a_valid_area_that_is_none_is_refused_before_a_pixel_is_read(bundle, lent):
    error, memory, _ = refused(bundle, sizes=SIZES + np.int32([0, 1]), lent=lent)
    assert error.reason == Reason.TENSOR_INVALID
    assert memory.spans["image"].reads == 0


def test_samples_within_the_limits_are_read_once(bundle):
    """Otherwise all of the above could be unread for another reason."""
    error, memory, engine = refused(bundle)
    assert error.reason == Reason.QUEUE_FULL
    assert [span.reads for span in memory.spans.values()] == [1, 1]
    [first] = engine.samples
    assert (first.valid_height, first.valid_width) == (64, 96)
