"""The network behind BentoML: server.py MODEL PORT; multipart in, JSON out.

A file upload, its documented way of taking binary data; adaptive batching of up to
eight, one worker.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
from onnx_network import OnnxNetwork


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 32})
class Network:
    def __init__(self) -> None:
        self.network = OnnxNetwork(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def infer(self, data: list[Path]) -> list[float]:
        images = [self.network.image(path.read_bytes()) for path in data]
        return [float(value) for value in self.network.run(np.stack(images))[:, 0]]


if __name__ == "__main__":
    os.environ["MODEL"] = sys.argv[1]
    here = Path(__file__).parent
    command = [sys.executable, "-m", "bentoml", "serve", "server:Network"]
    command += ["--host", "127.0.0.1", "--port", sys.argv[2]]
    os.chdir(here)
    os.execv(sys.executable, command)
