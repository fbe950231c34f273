"""What our engine costs a client of the Open Inference Protocol: ours over a floor.

`python bench_kserve.py ROUNDS [RESULTS.json]`: 602 KB of float32 to a network that
costs nothing, alternating between `spinert serve` and a server without queue, batches,
deadlines, checks and statistics (minimal_kserve.py).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
from harness import HERE, Server, machine, ratio, running, spinert_server, write_json
from load import OPTIONS
from peer_networks import EDGE, write_mean_bundle

from spinert.proto import open_inference_pb2 as oip

SERVICE = "/inference.GRPCInferenceService"
REQUESTS = 300
IN_FLIGHT = 4
CONFIG = """
[engine]
max_delay_ms = 0.0
[backend]
threads = 1
"""


def request(number: int) -> tuple[bytes, np.ndarray]:
    """Return a request as bytes, and the answer to it."""
    image = np.random.default_rng(number).random((1, 3, EDGE, EDGE), np.float32)
    message = oip.ModelInferRequest(model_name="classifier", id=str(number))
    message.inputs.add(name="image", datatype="FP32", shape=image.shape)
    message.raw_input_contents.append(image.tobytes())
    return message.SerializeToString(), image.mean(axis=(1, 2, 3))


def check(reply: oip.ModelInferResponse, expected: np.ndarray) -> None:
    found = np.frombuffer(reply.raw_output_contents[0], np.float32)
    if not np.allclose(found, expected, atol=1e-5):
        raise RuntimeError(f"answered {found} instead of {expected}")


async def unary(channel: Any, requests: list[tuple[bytes, Any]]) -> list[float]:
    """Send one at a time; return the latencies in ms."""
    call = channel.unary_unary(f"{SERVICE}/ModelInfer")
    latencies = []
    for i in range(REQUESTS):
        message, expected = requests[i % len(requests)]
        start_s = time.perf_counter()
        reply = await call(message)
        latencies.append(1000 * (time.perf_counter() - start_s))
        check(oip.ModelInferResponse.FromString(reply), expected)
    return latencies


async def streamed(channel: Any, requests: list[tuple[bytes, Any]]) -> list[float]:
    """Keep IN_FLIGHT requests on a stream; return the latencies in ms."""
    room, sent, latencies = asyncio.Semaphore(IN_FLIGHT), [], []

    async def messages() -> AsyncIterator[bytes]:
        for i in range(REQUESTS):
            await room.acquire()
            sent.append(time.perf_counter())
            yield requests[i % len(requests)][0]

    call = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(messages())
    async for reply in call:
        i = len(latencies)
        latencies.append(1000 * (time.perf_counter() - sent[i]))
        room.release()
        answer = oip.ModelStreamInferResponse.FromString(reply).infer_response
        check(answer, requests[i % len(requests)][1])
    return latencies


WAYS = {"unary, one at a time": unary, f"streamed, {IN_FLIGHT} in flight": streamed}


async def drive(address: str, way: Any, requests: list[Any]) -> list[float]:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        found: list[float] = await way(channel, requests)
        return found


def round_of(server: Server, way: Any, requests: list[Any]) -> dict[str, float]:
    before_s, start_s = server.cpu_s(), time.perf_counter()
    latencies = asyncio.run(drive(server.address, way, requests))
    return {
        "p50_ms": median(latencies),
        "cpu_ms": 1000 * (server.cpu_s() - before_s) / REQUESTS,
        "requests_per_s": REQUESTS / (time.perf_counter() - start_s),
    }


def main() -> None:
    rounds = int(sys.argv[1])
    requests = [request(i) for i in range(4)]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        bundle = write_mean_bundle(work / "bundle")
        network = bundle / "networks" / "classifier.onnx"
        command = [sys.executable, str(HERE / "minimal_kserve.py"), str(network)]
        servers = {
            "spinert": stack.enter_context(spinert_server(bundle, CONFIG, work)),
            "minimal": stack.enter_context(running(command)),
        }
        for name, way in WAYS.items():
            found: dict[str, list[dict[str, float]]] = {key: [] for key in servers}
            for number in range(rounds + 1):
                for key, server in servers.items():
                    measured = round_of(server, way, requests)
                    if number:  # the first one warms up
                        found[key].append(measured)
            results[name] = {"rounds": found}
            for figure in ("p50_ms", "cpu_ms", "requests_per_s"):
                ours = [measured[figure] for measured in found["spinert"]]
                theirs = [measured[figure] for measured in found["minimal"]]
                over = ratio(ours, theirs)
                results[name][f"{figure}, spinert / minimal"] = over.as_json()
                print(f"{name}, {figure}: {over}; ours {median(ours):.2f}")
    if len(sys.argv) > 2:
        write_json(Path(sys.argv[2]), {"machine": machine(), "kserve": results})


if __name__ == "__main__":
    main()
