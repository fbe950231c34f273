"""A front that speaks the Open Inference Protocol, over a real engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np

from spinert.proto import open_inference_pb2 as oip
from spinert.proto import open_inference_pb2_grpc as oip_grpc
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import KserveSettings, ServerSettings, Settings
from spinert.runtime.kserve.opening import (
    inference_from_engine,
    repository_from_bundle,
)
from spinert.runtime.server.front import Front
from spinert.runtime.server.service import limits_from_settings
from spinert.runtime.server.stream import Serving
from support.engines import GatedBackend, running_engine, settings
from support.fronts import ScriptedEngine, identity
from support.wires import ROOMY

MONOCHROME2 = {"photometric_interpretation": "MONOCHROME2"}


class Served:
    """A front, its engine and backend, and a stub of it."""

    def __init__(self, front: Front, engine: Any, backend: GatedBackend) -> None:
        self.front, self.engine, self.backend = front, engine, backend
        self.stub: Any = None
        self.channel: Any = None


@asynccontextmanager
async def kserving(
    bundle: LoadedBundle,
    *,
    engine: Any = None,
    decoder: Any = None,
    backend: GatedBackend | None = None,
    server: ServerSettings | None = None,
    kserve: KserveSettings | None = None,
    **limits: Any,
) -> AsyncIterator[Served]:
    """Serve `bundle` by the fake backend; `engine` stands in for the real one."""
    server = server or ServerSettings(listen="127.0.0.1:0")
    kserve = kserve or KserveSettings()
    all_settings = Settings(
        server=server, kserve=kserve, engine=settings(**limits).engine
    )
    backend = backend or GatedBackend()
    front = Front(server, limits_from_settings(all_settings))
    front.offer(repository_from_bundle(bundle, all_settings))
    with running_engine(
        bundle, backend, decoder=decoder, clock=time.monotonic, **limits
    ) as real:
        async with front:
            used = engine or real
            serving = Serving(engine=used, identity=identity, clock=time.monotonic)
            await front.serve(
                serving,
                inference_from_engine(
                    used, bundle, all_settings, identity, time.monotonic
                ),
            )
            async with grpc.aio.insecure_channel(front.address, ROOMY) as channel:
                served = Served(front, real, backend)
                served.stub = oip_grpc.GRPCInferenceServiceStub(channel)
                served.channel = channel
                yield served


DATATYPES = {
    "u1": "UINT8",
    "u2": "UINT16",
    "i2": "INT16",
    "i4": "INT32",
    "i8": "INT64",
    "f4": "FP32",
}


def request_of(
    model: str,
    inputs: dict[str, np.ndarray | bytes],
    *,
    outputs: tuple[str, ...] = (),
    parameters: dict[str, Any] | None = None,
    **fields: Any,
) -> oip.ModelInferRequest:
    """Return a request as a client would write it; bytes are one element of BYTES."""
    request = oip.ModelInferRequest(model_name=model, **fields)
    for name, value in inputs.items():
        if isinstance(value, bytes):
            request.inputs.add(name=name, datatype="BYTES", shape=[1])
            data = len(value).to_bytes(4, "little") + value
        else:
            kind = DATATYPES[value.dtype.str[1:]]
            request.inputs.add(name=name, datatype=kind, shape=value.shape)
            data = value.tobytes()
        request.raw_input_contents.append(data)
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        set_parameter(request.parameters[name], value)
    return request


def set_parameter(parameter: oip.InferParameter, value: Any) -> None:
    kinds = {bool: "bool", int: "int64", str: "string", float: "double"}
    setattr(parameter, kinds[type(value)] + "_param", value)


def arrays_of(response: oip.ModelInferResponse) -> dict[str, Any]:
    """Return the outputs of a response, as a client would read them."""
    found: dict[str, Any] = {}
    types = {name: code for code, name in DATATYPES.items()} | {"FP64": "f8"}
    assert len(response.outputs) == len(response.raw_output_contents)
    for output, data in zip(
        response.outputs, response.raw_output_contents, strict=True
    ):
        if output.datatype == "BYTES":
            found[output.name] = strings_of(data)
            assert list(output.shape) == [len(found[output.name])]
        elif not output.parameters:
            values = np.frombuffer(data, "<" + types[output.datatype])
            found[output.name] = values.reshape(tuple(output.shape))
    return found


def strings_of(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        found.append(data[4:end])
        data = data[end:]
    return found


def frame_image(rows: int = 80, columns: int = 64) -> np.ndarray:
    ramp = np.linspace(0, 4095, rows * columns).reshape(rows, columns)
    return ramp.astype(np.uint16)


def typed_request_of(
    model: str, inputs: dict[str, np.ndarray]
) -> oip.ModelInferRequest:
    """Return a request whose elements are typed."""
    request = request_of(model, inputs)
    del request.raw_input_contents[:]
    for tensor, value in zip(request.inputs, inputs.values(), strict=True):
        kinds = {"u": "uint", "i": "int", "f": "fp32"}
        contents = getattr(tensor.contents, kinds[value.dtype.kind] + "_contents")
        contents.extend(value.ravel().tolist())
    return request


def infer(bundle: LoadedBundle, *requests: Any, **options: Any) -> list[Any]:
    """Return the replies to requests sent one after the other."""

    async def main() -> list[Any]:
        async with kserving(bundle, **options) as served:
            return [await served.stub.ModelInfer(request) for request in requests]

    return asyncio.run(main())


def scripted(
    bundle: LoadedBundle, *requests: Any, timeouts: tuple[float | None, ...] = ()
) -> ScriptedEngine:
    """Have requests answered by a scripted engine, and return it."""
    engine = ScriptedEngine()

    async def main() -> None:
        async with kserving(bundle, engine=engine) as served:
            for i, request in enumerate(requests):
                timeout_s = timeouts[i] if timeouts else None
                await served.stub.ModelInfer(request, timeout=timeout_s)

    asyncio.run(main())
    return engine


def refusal_of(bundle: LoadedBundle, request: Any, **options: Any) -> Any:
    """Return the error that a request ends in."""
    try:
        infer(bundle, request, **options)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the request was answered")
