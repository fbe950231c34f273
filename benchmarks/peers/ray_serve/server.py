"""The network behind Ray Serve: server.py MODEL PORT; raw bytes in, raw bytes out.

Batches of up to eight within a millisecond, one replica, no dashboard.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import ray
from onnx_network import OnnxNetwork
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(max_ongoing_requests=32)
class Network:
    def __init__(self, model: str) -> None:
        self.network = OnnxNetwork(model)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.001)
    async def run(self, images):
        return list(self.network.run(np.stack(images)))

    async def __call__(self, request: Request):
        image = self.network.image(await request.body())
        return Response((await self.run(image)).tobytes())


def main(model: str, port: int) -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Network.bind(model), route_prefix="/")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
