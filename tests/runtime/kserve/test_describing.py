"""What tools ask before they send anything."""

import asyncio

import grpc
import numpy as np
import pytest
from support.engines import tiny_bundle
from support.kserves import (
    MONOCHROME2,
    frame_image,
    kserving,
    request_of,
    typed_request_of,
)
from support.wires import error_info

from spinert.proto import bundle_pb2
from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.config import EngineSettings, KserveSettings
from spinert.runtime.kserve.models import models_from_bundle

CONTROLLED = KserveSettings(model_control=True)
MODELS = ("spine", "classifier", "detector")


def asked(bundle, *calls, **options):
    """Return the replies, or errors, of (method, request) one after the other."""

    async def main():
        found = []
        async with kserving(bundle, **options) as served:
            for method, request in calls:
                try:
                    found.append(await getattr(served.stub, method)(request))
                except grpc.aio.AioRpcError as error:
                    found.append(error)
        return found

    return asyncio.run(main())


def infer(model):
    if model == "spine":
        inputs = {"image": frame_image()}
        return "ModelInfer", request_of(model, inputs, parameters=MONOCHROME2)
    images = np.zeros((2, 1, 32, 32), np.uint8)
    return "ModelInfer", request_of(model, {"image": images})


def ready(model, version=""):
    return "ModelReady", oip.ModelReadyRequest(name=model, version=version)


def test_the_server_says_what_it_is_and_speaks(bundle):
    live, is_ready, told = asked(
        bundle,
        ("ServerLive", oip.ServerLiveRequest()),
        ("ServerReady", oip.ServerReadyRequest()),
        ("ServerMetadata", oip.ServerMetadataRequest()),
    )
    assert live.live
    assert is_ready.ready
    assert told.name == "spinert"
    # What perf_analyzer looks for.
    assert {"statistics", "model_configuration", "binary_tensor_data"} <= set(
        told.extensions
    )


def test_a_model_is_ready_if_there_is_one(bundle):
    replies = asked(
        bundle,
        *(ready(model) for model in MODELS),
        ready("spine", "1"),
        ready("spine", "2"),
        ready("other"),
    )
    assert [reply.ready for reply in replies] == [True] * 4 + [False] * 2


def test_nothing_is_ready_while_the_server_drains(bundle):
    async def main():
        async with kserving(bundle) as served:
            await served.front.drain()
            server = await served.stub.ServerReady(oip.ServerReadyRequest())
            model = await served.stub.ModelReady(oip.ModelReadyRequest(name="spine"))
            live = await served.stub.ServerLive(oip.ServerLiveRequest())
            index = await served.stub.RepositoryIndex(oip.RepositoryIndexRequest())
            return server.ready, model.ready, live.live, index.models[0].state

    assert asyncio.run(main()) == (False, False, True, "UNAVAILABLE")


def test_shapes_have_the_batch_axis_in_metadata_and_not_in_the_config(bundle):
    metadata, config = asked(
        bundle,
        ("ModelMetadata", oip.ModelMetadataRequest(name="classifier")),
        ("ModelConfig", oip.ModelConfigRequest(name="classifier")),
        max_batch=3,
        max_delay_ms=1.5,
    )
    config = config.config
    assert (metadata.versions, metadata.platform) == (["1"], "onnx")
    assert list(metadata.inputs[0].shape) == [-1, 1, 32, 32]
    assert list(config.input[0].dims) == [1, 32, 32]
    assert (metadata.inputs[0].datatype, config.input[0].data_type) == (
        "UINT8",
        oip.TYPE_UINT8,
    )
    assert list(metadata.outputs[0].shape) == [-1, 2]
    assert list(config.output[0].dims) == [2]
    assert config.max_batch_size == 3
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert list(config.dynamic_batching.preferred_batch_size) == [3]
    assert config.parameters["bundle_version"].string_value == "1"


def test_the_pipeline_takes_one_frame_without_a_batch_axis(bundle):
    [config] = asked(bundle, ("ModelConfig", oip.ModelConfigRequest(name="spine")))
    config = config.config
    assert config.max_batch_size == 0
    assert config.WhichOneof("scheduling_choice") is None
    assert [(i.name, list(i.dims), i.optional) for i in config.input] == [
        ("frame", [1], True),
        ("image", [-1, -1], True),
    ]
    assert config.parameters["notice"].string_value == "for tests only"


@pytest.mark.parametrize(
    ("canvas", "element_type", "expected"),
    [
        ({"fixed": {"height": 8, "width": 9}}, "u1", ("UINT8", [-1, 1, 8, 9])),
        ({"letterbox": {"height": 8, "width": 9}}, "f4", ("FP32", [-1, 3, 8, 9])),
        ({"native": {"pad_multiple": 4}}, "f4", ("FP32", [-1, 3, -1, -1])),
    ],
)
def test_inputs_are_those_of_the_graph(tmp_path, canvas, element_type, expected):
    bundle = tiny_bundle(tmp_path)
    network = bundle.spec.networks["detector"].input
    network.canvas.CopyFrom(bundle_pb2.CanvasPolicy(**canvas))
    if element_type == "f4":
        network.element_type = bundle_pb2.ELEMENT_FLOAT32
    model = models_from_bundle(bundle, EngineSettings())["detector"]
    image, size = model.inputs
    assert (image.datatype, list(image.shape)) == expected
    assert (size.datatype, list(size.shape)) == ("INT32", [-1, 2])


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_an_unknown_model_is_not_found(bundle, method):
    request = getattr(oip, f"{method}Request")
    for wrong in (request(name="other"), request(name="spine", version="7")):
        [error] = asked(bundle, (method, wrong))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error_info(error).reason == "MODEL_UNKNOWN"


def test_what_is_answered_is_counted(bundle):
    bad = typed_request_of("classifier", {"image": np.zeros((1, 2), np.uint8)})
    *_, one, every = asked(
        bundle,
        infer("classifier"),
        infer("classifier"),
        ("ModelInfer", bad),
        infer("spine"),
        ("ModelStatistics", oip.ModelStatisticsRequest(name="classifier")),
        ("ModelStatistics", oip.ModelStatisticsRequest()),
        max_delay_ms=500.0,
        max_batch=2,
    )
    assert [stats.name for stats in every.model_stats] == list(MODELS)
    [classifier] = one.model_stats
    times = classifier.inference_stats
    assert (classifier.inference_count, classifier.execution_count) == (4, 2)
    assert (times.success.count, times.fail.count) == (2, 1)
    parts = (
        times.queue,
        times.compute_input,
        times.compute_infer,
        times.compute_output,
    )
    assert [part.count for part in parts] == [2] * 4
    assert sum(part.ns for part in parts) == pytest.approx(times.success.ns, rel=1e-6)
    assert classifier.last_inference > 1_600_000_000_000
    assert [b.batch_size for b in classifier.batch_stats] == [2]
    assert classifier.batch_stats[0].compute_infer.count == 2
    spine, _, detector = every.model_stats
    assert (spine.inference_count, spine.execution_count) == (1, 1)
    assert spine.inference_stats.compute_input.ns > 0
    # The pipeline's use of a network is not a request to that network.
    assert detector.inference_count == detector.execution_count == 0


def test_models_are_listed(bundle):
    [index] = asked(bundle, ("RepositoryIndex", oip.RepositoryIndexRequest()))
    assert [(m.name, m.version, m.state) for m in index.models] == [
        (name, "1", "READY") for name in MODELS
    ]


@pytest.mark.parametrize("action", ["Load", "Unload"])
def test_clients_do_not_control_models_until_configured(bundle, action):
    request = getattr(oip, f"RepositoryModel{action}Request")(model_name="spine")
    error, still = asked(bundle, (f"RepositoryModel{action}", request), ready("spine"))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == "MODEL_CONTROL_OFF"
    assert still.ready


def test_an_unloaded_model_is_refused_until_it_is_loaded(bundle):
    load = oip.RepositoryModelLoadRequest(model_name="spine")
    unload = oip.RepositoryModelUnloadRequest(model_name="spine")
    unload.parameters["unload_dependents"].bool_param = False
    _, gone, refused, other, index, only_ready, _, back, answer = asked(
        bundle,
        ("RepositoryModelUnload", unload),
        ready("spine"),
        infer("spine"),
        infer("classifier"),
        ("RepositoryIndex", oip.RepositoryIndexRequest()),
        ("RepositoryIndex", oip.RepositoryIndexRequest(ready=True)),
        ("RepositoryModelLoad", load),
        ready("spine"),
        infer("spine"),
        kserve=CONTROLLED,
    )
    assert not gone.ready
    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(refused).reason == "MODEL_UNLOADED"
    assert other.model_name == "classifier"
    states = {m.name: (m.state, m.reason) for m in index.models}
    assert states["spine"] == ("UNAVAILABLE", "unloaded")
    assert states["detector"] == ("READY", "")
    assert "spine" not in [m.name for m in only_ready.models]
    assert back.ready
    assert answer.model_name == "spine"


def test_a_model_is_loaded_as_its_bundle_has_it(bundle):
    load = oip.RepositoryModelLoadRequest(model_name="spine")
    load.parameters["config"].string_param = "{}"
    unknown = oip.RepositoryModelLoadRequest(model_name="other")
    changed, missing = asked(
        bundle,
        ("RepositoryModelLoad", load),
        ("RepositoryModelLoad", unknown),
        kserve=CONTROLLED,
    )
    assert error_info(changed).reason == "MODEL_CONTROL_OFF"
    assert error_info(missing).reason == "MODEL_UNKNOWN"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("RepositoryIndex", {}),
        ("RepositoryModelLoad", {"model_name": "spine"}),
        ("RepositoryModelUnload", {"model_name": "spine"}),
    ],
)
def test_another_repository_is_not_found(bundle, method, fields):
    request = getattr(oip, f"{method}Request")
    error, answer = asked(
        bundle,
        (method, request(repository_name="other", **fields)),
        (method, request(**fields)),
        kserve=CONTROLLED,
    )
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(error).reason == "MODEL_UNKNOWN"
    assert not isinstance(answer, Exception)
