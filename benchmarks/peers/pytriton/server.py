"""The network behind PyTriton: Triton's own core, and Python for the network.

server.py MODEL PORT: HTTP on PORT, gRPC on PORT + 1. Batches of up to eight, released
at once (dynamic batching without delay), as Triton's guide advises for latency.
"""

from __future__ import annotations

import sys

import numpy as np
from onnx_network import OnnxNetwork
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig


def main(model: str, port: int) -> None:
    network = OnnxNetwork(model)

    @batch
    def infer(image):
        return [network.run(image)]

    config = TritonConfig(
        http_port=port,
        grpc_port=port + 1,
        metrics_port=port + 2,
        http_address="127.0.0.1",
        grpc_address="127.0.0.1",
        metrics_address="127.0.0.1",
    )
    security = TritonSecurityConfig(restricted_endpoints=[])
    with Triton(config=config, security_config=security) as triton:
        triton.bind(
            "classifier",
            infer,
            [Tensor(name="image", dtype=network.dtype, shape=network.shape)],
            [Tensor(name="logits", dtype=np.float32, shape=(1,))],
            config=ModelConfig(
                max_batch_size=8,
                batcher=DynamicBatcher(max_queue_delay_microseconds=0),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
