"""The floor: a grpc.aio server of the Open Inference Protocol that only runs ONNX.

No queue, no batches, no deadline, no check of a request, no statistics.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import numpy as np
import onnxruntime
import uvloop
from echo_server import OPTIONS

from spinert.proto import open_inference_pb2 as oip
from spinert.proto import open_inference_pb2_grpc as oip_grpc


class Minimal(oip_grpc.GRPCInferenceServiceServicer):
    def __init__(self, network: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )

    async def ModelInfer(
        self, request: oip.ModelInferRequest, _: Any
    ) -> oip.ModelInferResponse:
        data = np.frombuffer(request.raw_input_contents[0], np.float32)
        image = data.reshape(tuple(request.inputs[0].shape))
        [logits] = self._session.run(None, {"image": image})
        response = oip.ModelInferResponse(
            model_name=request.model_name, model_version="1", id=request.id
        )
        response.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
        response.raw_output_contents.append(logits.tobytes())
        return response

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:
        async for request in requests:
            response = await self.ModelInfer(request, context)
            yield oip.ModelStreamInferResponse(infer_response=response)


async def main() -> None:
    server = grpc.aio.server(options=OPTIONS)
    oip_grpc.add_GRPCInferenceServiceServicer_to_server(Minimal(sys.argv[1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f'{{"event": "ready", "address": "127.0.0.1:{port}"}}', file=sys.stderr)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
