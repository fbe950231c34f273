"""Requests that cannot be served: a typed status each, and the server goes on."""

import asyncio
import threading

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
    refusal_of,
    request_of,
    set_parameter,
    typed_request_of,
)
from support.wires import error_info

from spinert.proto import bundle_pb2
from spinert.runtime.kserve import inference
from spinert.runtime.kserve.network import refuse_not_finite
from spinert.runtime.kserve.service import KSERVE_SERVICE

METHODS = [
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ModelInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryUnregister",
]
PIXELS = frame_image()
GREY = np.zeros((1, 1, 32, 32), np.uint8)
WIDE = np.zeros((2, 1, 64, 96), np.uint8)
SIZES = np.array([[64, 96], [64, 96]], np.int32)
ONES = np.ones_like(SIZES)


def spine(**parameters):
    return request_of("spine", {"image": PIXELS}, parameters=MONOCHROME2 | parameters)


def classifier(images=GREY, **fields):
    return request_of("classifier", {"image": images}, **fields)


def detector(images=WIDE, sizes=SIZES):
    return request_of("detector", {"image": images, "image_size": sizes})


def changed(request, change):
    change(request)
    return request


def with_bytes(data):
    request = request_of("spine", {"frame": b""})
    request.raw_input_contents[0] = data
    return request


def in_two_fields(request):
    request.inputs[0].contents.fp32_contents.append(0.0)
    return request


def drop_contents(request):
    del request.raw_input_contents[:]


def add_input_again(request):
    request.inputs.add().CopyFrom(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def ask(*names):
    def change(request):
        for name in names:
            request.outputs.add(name=name)

    return change


def of_input(**fields):
    def change(request):
        for name, value in fields.items():
            if name == "shape":
                request.inputs[0].shape[:] = value
            elif name in ("name", "datatype"):
                setattr(request.inputs[0], name, value)
            else:
                set_parameter(request.inputs[0].parameters[name], value)

    return change


def typed(values, shape=(1, 1, 32, 32)):
    request = typed_request_of("classifier", {"image": GREY})
    request.inputs[0].shape[:] = shape
    request.inputs[0].contents.ClearField("uint_contents")
    request.inputs[0].contents.uint_contents.extend(values)
    return request


TENSOR_INVALID = {
    "unknown input": changed(classifier(), of_input(name="picture")),
    "no input": request_of("classifier", {}),
    "input twice": changed(classifier(), add_input_again),
    "wrong type": classifier(GREY.astype(np.float32)),
    "unknown type": changed(classifier(), of_input(datatype="FP8")),
    "too few axes": changed(classifier(), of_input(shape=[32, 32])),
    "too many axes": changed(classifier(), of_input(shape=[1] * 500)),
    "wrong size": classifier(np.zeros((1, 1, 32, 16), np.uint8)),
    "wrong channels": classifier(np.zeros((1, 3, 32, 32), np.uint8)),
    "negative size": changed(classifier(), of_input(shape=[-1, 1, 32, 32])),
    "no sample": classifier(np.zeros((0, 1, 32, 32), np.uint8)),
    "sizes beyond 64 bits": changed(spine(), of_input(shape=[2**62, 2**62])),
    "too short": changed(classifier(), of_input(shape=[2, 1, 32, 32])),
    "no contents": changed(classifier(), drop_contents),
    "surplus contents": changed(
        classifier(), lambda r: r.raw_input_contents.append(b"x")
    ),
    "too many typed elements": typed([0] * 5000, (5, 1, 32, 32)),
    "typed elements of another number": typed([0] * 5),
    "typed elements in two fields": in_two_fields(typed([0] * 1024)),
    "a typed element that does not fit": typed([256] * 1024),
    "unknown output": changed(classifier(), ask("boxes")),
    "output twice": changed(classifier(), ask("logits", "logits")),
    "too many samples": classifier(np.zeros((5, 1, 32, 32), np.uint8)),
    "samples that do not match": detector(sizes=SIZES[:1]),
    "no image_size": request_of("detector", {"image": WIDE}),
    "width no multiple": detector(np.zeros((2, 1, 64, 80), np.uint8), ONES),
    "height no multiple": detector(np.zeros((2, 1, 80, 64), np.uint8), ONES),
    "wider than any frame": detector(np.zeros((2, 1, 32, 128), np.uint8), ONES),
    "higher than any frame": detector(np.zeros((2, 1, 128, 32), np.uint8), ONES),
    "valid area beyond the image": detector(sizes=SIZES + np.int32([0, 1])),
    "valid area of nothing": detector(sizes=SIZES * 0),
    "a file and pixels": request_of("spine", {"image": PIXELS, "frame": b"x"}),
    "neither file nor pixels": request_of("spine", {}),
    "an element shorter than it says": with_bytes(b"\x05\0\0\0abcd"),
    "an element longer than it says": with_bytes(b"\x03\0\0\0abcd"),
    "an element without a length": with_bytes(b"\x01\0"),
}
PARAMETER_INVALID = {
    "unknown": spine(window_centre=1.0),
    "of pixels, for a network": classifier(parameters=MONOCHROME2),
    "of pixels, for a file": request_of(
        "spine", {"frame": b"\xff\xd8\xff"}, parameters=MONOCHROME2
    ),
    "wrong type": spine(bits_stored="12"),
    "true is no number": spine(bits_stored=True),
    "half a window": spine(window_center=1.0),
    "a function without a window": spine(voi_lut_function="SIGMOID"),
    "an unknown function": spine(
        window_center=1.0, window_width=2.0, voi_lut_function="CUBIC"
    ),
    "half a rescale": spine(rescale_slope=1.0),
    "half a spacing": spine(row_spacing_mm=1.0),
    "more bits than the type": spine(bits_stored=17),
    "as few bits as another type": spine(bits_stored=8),
    "unknown priority": spine(priority=3),
    "negative timeout": spine(timeout=-1),
    "a sequence": spine(sequence_id=7),
    "a study beyond its length": spine(study_uid="1" * 65),
    "a region without a size": changed(
        classifier(), of_input(shared_memory_region="a")
    ),
    "a size without a region": changed(
        classifier(), of_input(shared_memory_byte_size=1)
    ),
    "an unknown one of a tensor": changed(classifier(), of_input(classification=3)),
}
OTHERS = {
    "unknown model": (
        changed(spine(), lambda r: r.ClearField("model_name")),
        "NOT_FOUND",
        "MODEL_UNKNOWN",
    ),
    "unknown version": (classifier(model_version="2"), "NOT_FOUND", "MODEL_UNKNOWN"),
    "long id": (classifier(id="x" * 129), "INVALID_ARGUMENT", "FIELD_TOO_LONG"),
    "long device": (spine(device="x" * 65), "INVALID_ARGUMENT", "FIELD_TOO_LONG"),
    "empty file": (with_bytes(bytes(4)), "INVALID_ARGUMENT", "EMPTY_FRAME"),
    "no file of a kind we know": (
        request_of("spine", {"frame": b"GIF89a"}),
        "INVALID_ARGUMENT",
        "ENCODED_FORMAT_UNSUPPORTED",
    ),
    "no photometric interpretation": (
        request_of("spine", {"image": PIXELS}),
        "INVALID_ARGUMENT",
        "MALFORMED_RAW_IMAGE",
    ),
    "constant pixels": (
        request_of("spine", {"image": PIXELS * 0}, parameters=MONOCHROME2),
        "INVALID_ARGUMENT",
        "CONSTANT_IMAGE",
    ),
    "a region where there are none": (
        changed(
            changed(classifier(), drop_contents),
            of_input(shared_memory_region="a", shared_memory_byte_size=1024),
        ),
        "FAILED_PRECONDITION",
        "SHARED_MEMORY_OFF",
    ),
}
ALL = {
    **{k: (v, "INVALID_ARGUMENT", "TENSOR_INVALID") for k, v in TENSOR_INVALID.items()},
    **{
        f"parameter, {k}": (v, "INVALID_ARGUMENT", "PARAMETER_INVALID")
        for k, v in PARAMETER_INVALID.items()
    },
    **OTHERS,
}


@pytest.fixture(scope="module")
def refused(bundle):
    """Send all of them to one server; return the errors, and an answer at the end."""

    async def main():
        found = {}
        async with kserving(bundle) as served:
            for name, (request, *_) in ALL.items():
                try:
                    await served.stub.ModelInfer(request, timeout=20)
                except grpc.aio.AioRpcError as error:
                    found[name] = error
            found["answer"] = await served.stub.ModelInfer(classifier())
            found["in flight"] = served.engine.in_flight
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("name", ALL)
def test_a_bad_request_is_refused_with_its_reason(refused, name):
    _, status, reason = ALL[name]
    assert name in refused, "it was answered"
    error = refused[name]
    assert error.code().name == status, error.details()
    assert error_info(error).reason == reason
    assert "\n" not in error.details()


def test_bytes_that_are_no_request_are_refused(bundle):
    async def main():
        found = {}
        async with kserving(bundle) as served:
            for method in METHODS:
                malformed = served.channel.unary_unary(f"/{KSERVE_SERVICE}/{method}")
                try:
                    await malformed(b"\xff\xff")
                except grpc.aio.AioRpcError as error:
                    found[method] = error
        return found

    found = asyncio.run(main())
    assert [*found] == METHODS
    for method, error in found.items():
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(error).reason == "MALFORMED_MESSAGE"
        assert error.details().startswith(f"not a {method}Request of package")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("large_bytes", [2**30, 1], ids=["small", "large"])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path, monkeypatch, value, large_bytes
):
    looked = []

    def noted(pixels):
        looked.append(threading.current_thread())
        refuse_not_finite(pixels)

    monkeypatch.setattr(inference, "refuse_not_finite", noted)
    monkeypatch.setattr(inference, "_LARGE_LOOK_BYTES", large_bytes)
    spec = tiny_spec()
    network = spec.networks["classifier"].input
    network.element_type = bundle_pb2.ELEMENT_FLOAT32
    images = np.full((2, len(network.mean), 32, 32), 0.5, np.float32)
    images[1, 0, 5, 7] = value
    bundle = tiny_bundle(tmp_path, spec)

    error = refusal_of(bundle, classifier(images))
    assert error_info(error).reason == "TENSOR_INVALID"
    assert "finite" in error.details()
    images[1, 0, 5, 7] = 0.0
    assert len(infer(bundle, classifier(images))) == 1
    on_the_loop = {thread is threading.main_thread() for thread in looked}
    assert on_the_loop == {large_bytes > images.nbytes}


def test_the_server_goes_on_after_all_of_them(refused):
    assert arrays_of(refused["answer"])["logits"].shape == (1, 2)
    assert refused["in flight"] == 0


def test_the_good_forms_of_these_requests_are_answered(bundle):
    """Otherwise all of the above could be refused for another reason."""
    good = [
        classifier(np.zeros((4, 1, 32, 32), np.uint8)),
        detector(),
        detector(np.zeros((2, 1, 96, 96), np.uint8), ONES),
        typed([255] * 1024),
        spine(window_center=1.0, window_width=2.0, bits_stored=9, priority=2),
        spine(sequence_id=0, sequence_start=False, timeout=0, study_uid="1" * 64),
    ]
    assert len(infer(bundle, *good)) == len(good)
