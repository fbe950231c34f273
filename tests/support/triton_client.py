"""What tritonclient sees of a server, as JSON: run by the kit's own Python.

`python triton_client.py HOST:PORT CHECK`
"""

import json
import os
import queue
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shared

PARAMETERS = {"photometric_interpretation": "MONOCHROME2"}


def pixels():
    return np.linspace(0, 4095, 80 * 64).reshape(80, 64).astype(np.uint16)


def spine_input(name="image"):
    tensor = triton.InferInput(name, [80, 64], "UINT16")
    tensor.set_data_from_numpy(pixels())
    return tensor


def verdict_of(result):
    return {
        "id": result.get_response().id,
        "version": result.get_response().model_version,
        "probability": result.as_numpy("abnormal_probability").tolist(),
        "boxes": list(result.as_numpy("boxes").shape),
        "class_names": [name.decode() for name in result.as_numpy("class_names")],
    }


def unary(client):
    tensor = spine_input()
    found = verdict_of(
        client.infer(
            "spine",
            [tensor],
            request_id="seven",
            parameters=PARAMETERS | {"bits_stored": 12, "device": "room 1"},
            priority=1,
            timeout=20_000_000,
            client_timeout=20,
        )
    )
    outputs = [triton.InferRequestedOutput("verdict")]
    answer = client.infer("spine", [tensor], outputs=outputs, parameters=PARAMETERS)
    found["verdict"] = json.loads(answer.as_numpy("verdict")[0])
    return found


def files(client):
    content = np.array([Path(sys.argv[3]).read_bytes()], np.object_)
    tensor = triton.InferInput("frame", [1], "BYTES")
    tensor.set_data_from_numpy(content)
    return verdict_of(client.infer("spine", [tensor]))


def network(client):
    tensor = triton.InferInput("image", [2, 1, 32, 32], "UINT8")
    tensor.set_data_from_numpy(np.full((2, 1, 32, 32), 51, np.uint8))
    answer = client.infer("classifier", [tensor]).as_numpy("logits")
    stats = client.get_inference_statistics("classifier", as_json=True)
    return {"logits": answer.tolist(), "stats": stats["model_stats"][0]}


def stream(client):
    replies = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))
    for i in range(5):
        client.async_stream_infer(
            "spine",
            [spine_input()],
            request_id=str(i),
            parameters=PARAMETERS if i != 2 else {},
            enable_empty_final_response=True,
        )
    found = []
    for _ in range(5):
        result, error = replies.get(timeout=20)
        found.append(error.message() if error else verdict_of(result)["id"])
    client.stop_stream()
    return found


def memory(client):
    size = pixels().nbytes
    keys = [f"/spinert-kit-{os.getpid()}-{end}" for end in ("in", "out")]
    handles = [
        shared.create_shared_memory_region("in", keys[0], size),
        shared.create_shared_memory_region("out", keys[1], 4096),
    ]
    shared.set_shared_memory_region(handles[0], [pixels()])
    client.unregister_system_shared_memory()
    client.register_system_shared_memory("in", keys[0], size)
    client.register_system_shared_memory("out", keys[1], 4096)
    registered = client.get_system_shared_memory_status(as_json=True)
    tensor = spine_input()
    tensor.set_shared_memory("in", size)
    output = triton.InferRequestedOutput("abnormal_probability")
    output.set_shared_memory("out", 8, offset=64)
    client.infer("spine", [tensor], outputs=[output], parameters=PARAMETERS)
    written = shared.get_contents_as_numpy(handles[1], np.float64, [9]).tolist()
    client.unregister_system_shared_memory("in")
    left = client.get_system_shared_memory_status(as_json=True)
    client.unregister_system_shared_memory()
    for handle in handles:
        shared.destroy_shared_memory_region(handle)
    return {
        "registered": sorted(registered["regions"]),
        "left": sorted(left["regions"]),
        "probability": written[8:],
    }


def describing(client):
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models": [client.is_model_ready(m) for m in ("spine", "classifier", "other")],
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata("detector", as_json=True),
        "config": client.get_model_config("detector", as_json=True),
        "index": client.get_model_repository_index(as_json=True),
    }


def control(client):
    client.unload_model("spine")
    gone = client.is_model_ready("spine")
    client.load_model("spine")
    return [gone, client.is_model_ready("spine")]


def errors(client):
    found = []
    bad = [
        ("spine", spine_input()),  # without its photometric interpretation
        ("other", spine_input()),
        ("spine", spine_input("picture")),
    ]
    for model, tensor in bad:
        try:
            client.infer(model, [tensor])
        except triton.InferenceServerException as error:
            found.append([error.status(), error.message()])
    return found


CHECKS = {
    check.__name__: check
    for check in (
        unary,
        files,
        network,
        stream,
        memory,
        describing,
        control,
        errors,
    )
}

if __name__ == "__main__":
    with triton.InferenceServerClient(sys.argv[1]) as triton_server:
        json.dump(CHECKS[sys.argv[2]](triton_server), sys.stdout)
