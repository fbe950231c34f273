"""The protocol in a real `spinert serve`, and beside the other protocol."""

import asyncio

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.kserves import (
    MONOCHROME2,
    arrays_of,
    frame_image,
    kserving,
    request_of,
)
from support.servers import serving, write_served_bundle
from support.wires import ROOMY

from spinert.proto import open_inference_pb2 as oip
from spinert.proto import open_inference_pb2_grpc as oip_grpc
from spinert.runtime.config import ServerSettings
from spinert.runtime.kserve.service import KSERVE_SERVICE


@pytest.fixture(scope="module")
def served_bundle(tmp_path_factory):
    return write_served_bundle(tmp_path_factory.mktemp("served") / "bundle")


def call(address, method, request):
    with grpc.insecure_channel(address, ROOMY) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        return getattr(stub, method)(request, timeout=30)


def images():
    return np.random.default_rng(0).integers(0, 256, (4, 1, 32, 32), np.uint8)


@pytest.mark.parametrize("fronts", [1, 2])
def test_a_server_speaks_it_unless_told_otherwise(served_bundle, tmp_path, fronts):
    server = {"listen": "127.0.0.1:0", "fronts": fronts}
    with serving(served_bundle, tmp_path, server=server) as running:
        ready = call(running.address, "ServerReady", oip.ServerReadyRequest())
        spine = request_of("spine", {"image": frame_image()}, parameters=MONOCHROME2)
        verdict = call(running.address, "ModelInfer", spine)
        network = call(
            running.address,
            "ModelInfer",
            request_of("classifier", {"image": images()}),
        )
        with grpc.insecure_channel(running.address, ROOMY) as channel:
            stub = oip_grpc.GRPCInferenceServiceStub(channel)
            streamed = list(stub.ModelStreamInfer(iter([spine] * 3), timeout=30))
        assert running.stop() == 0
    assert ready.ready
    assert verdict.parameters["bundle"].string_param == "tiny"
    assert arrays_of(network)["logits"].shape == (4, 2)
    assert [r.infer_response.raw_output_contents for r in streamed] == [
        verdict.raw_output_contents
    ] * 3


def test_a_server_may_be_told_not_to_speak_it(served_bundle, tmp_path):
    with serving(served_bundle, tmp_path, kserve={"enabled": False}) as running:
        with pytest.raises(grpc.RpcError) as refused:
            call(running.address, "ServerLive", oip.ServerLiveRequest())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_and_reflection_know_the_service(bundle):
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    def services(address):
        with grpc.insecure_channel(address, ROOMY) as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    async def main():
        server = ServerSettings(listen="127.0.0.1:0", reflection=True)
        async with kserving(bundle, server=server) as served:
            health = health_pb2_grpc.HealthStub(served.channel)
            asked = health_pb2.HealthCheckRequest(service=KSERVE_SERVICE)
            found = await asyncio.to_thread(services, served.front.address)
            return (await health.Check(asked)).status, found

    status, found = asyncio.run(main())
    assert status == health_pb2.HealthCheckResponse.SERVING
    assert KSERVE_SERVICE in found
