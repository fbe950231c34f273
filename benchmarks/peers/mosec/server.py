"""The network behind mosec: server.py MODEL PORT; raw bytes in, raw bytes out.

Batches of up to eight within a millisecond, one worker process.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from mosec import Server, Worker
from onnx_network import OnnxNetwork


class Network(Worker):
    def __init__(self) -> None:
        self.network = OnnxNetwork(os.environ["MODEL"])

    def deserialize(self, data):
        return self.network.image(data)

    def forward(self, data):
        return list(self.network.run(np.stack(data)))

    def serialize(self, data):
        return data.tobytes()


if __name__ == "__main__":
    # Worker processes are made anew and see the environment only.
    os.environ["MODEL"], port = sys.argv[1], sys.argv[2]
    # A request may wait for a slow network; three seconds are the default.
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", port, "--timeout", "60000"]
    server = Server()
    server.append_worker(Network, num=1, max_batch_size=8, max_wait_time=1)
    server.run()
