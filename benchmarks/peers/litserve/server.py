"""The network behind LitServe: server.py MODEL PORT [json|form].

Batches of up to eight within a millisecond, one worker. `json` is its default way of
taking data, with base64 as binary data needs there; `form` its documented way of
taking files.
"""

from __future__ import annotations

import base64
import sys

import litserve
import numpy as np
from onnx_network import OnnxNetwork


class Network(litserve.LitAPI):
    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=8, batch_timeout=0.001)
        self.model = model

    def setup(self, device):
        self.network = OnnxNetwork(self.model)

    def decode_request(self, request):
        return self.network.image(base64.b64decode(request["data"]))

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.network.run(x)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"logits": output.tolist()}


class FormNetwork(Network):
    def decode_request(self, request):
        return self.network.image(request["data"].file.read())


def main(model: str, port: int, kind: str = "json") -> None:
    api = {"json": Network, "form": FormNetwork}[kind](model)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=port, host="127.0.0.1", generate_client_file=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
