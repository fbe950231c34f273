"""The network behind MLServer: server.py MODEL PORT: HTTP on PORT, gRPC on PORT + 1.

A runtime of its own with raw tensors; batches of up to eight within a millisecond,
in the server's process.
"""

from __future__ import annotations

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceResponse
from onnx_network import OnnxNetwork


class Network(MLModel):
    async def load(self) -> bool:
        self.network = OnnxNetwork(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        image = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        logits = self.network.run(image.astype(self.network.dtype))
        output = NumpyCodec.encode_output("logits", logits)
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main(model: str, port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_port=port + 2,
        parallel_workers=0,
        debug=False,
        grpc_max_message_length=64 * 2**20,
    )
    network = ModelSettings(
        name="classifier",
        implementation=Network,
        max_batch_size=8,
        max_batch_time=0.001,
        parameters=ModelParameters(uri=model),
    )
    await MLServer(settings).start([network])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
