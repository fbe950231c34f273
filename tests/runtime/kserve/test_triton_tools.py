"""Triton's own client and load generator, 2.51.0, against a real server process.

They are installed by scripts/kserve_kit into the folder SPINERT_KSERVE_KIT names, and
always run as processes of their own: their protobuf package is ours, too.
"""

import csv
import io
import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from support.servers import serving, write_served_bundle

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support"
REQUIRED = "SPINERT_REQUIRE_TOOLS" in os.environ
FOLDER = "SPINERT_KSERVE_KIT"
COUNT = 20


def give_up(reason):
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kit():
    """Return the folder of the tools, installed if they are not yet."""
    if not os.environ.get(FOLDER):
        give_up(
            f"set {FOLDER} to a folder: scripts/kserve_kit installs the tools there"
        )
    folder = Path(os.environ[FOLDER]).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        command = [ROOT / "scripts" / "kserve_kit", folder]
        environment = os.environ | {"PYTHON": sys.executable}
        made = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
    if made.returncode:
        give_up(f"scripts/kserve_kit failed: {made.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    work = tmp_path_factory.mktemp("kserve")
    bundle = write_served_bundle(work / "bundle")
    with serving(
        bundle,
        work,
        # perf_analyzer names its objects after the tensors.
        server={
            "listen": "127.0.0.1:0",
            "shared_memory": True,
            "shared_memory_prefix": "/",
        },
        kserve={"model_control": True},
    ) as running:
        yield running


def run(kit, program, *arguments, cwd=None):
    environment = {
        "LD_LIBRARY_PATH": str(kit / "libraries"),
        "PATH": os.environ["PATH"],
        "HOME": str(cwd or kit),
    }
    ended = subprocess.run(
        [kit / "bin" / program, *map(str, arguments)],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def client(kit, server):
    def check(name, *arguments):
        program = SUPPORT / "triton_client.py"
        said = run(kit, "python", program, server.address, name, *arguments)
        return json.loads(said)

    return check


@pytest.fixture
def perf_analyzer(kit, server, tmp_path):
    def measure(model, *arguments):
        """Return what it measured, and the statistics it read before and after."""
        out = tmp_path / "measured.csv"
        common = ["-i", "grpc", "-u", server.address, "-m", model, "-f", out]
        said = run(
            kit,
            "perf_analyzer",
            *common,
            "--request-count",
            COUNT,
            *arguments,
            cwd=tmp_path,
        )
        assert "rror" not in said.replace("error_count", ""), said
        [row] = csv.DictReader(io.StringIO(out.read_text()))
        return {key: float(value) for key, value in row.items() if value}, said

    return measure


# ------------------------------------------------------------------- definitions


def test_every_name_number_and_type_is_that_of_the_protocol(kit):
    program = SUPPORT / "oip_descriptors.py"
    triton = ["tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2"]
    theirs = json.loads(run(kit, "python", program, *triton))
    command = [sys.executable, program, "spinert.proto.open_inference_pb2"]
    ours = json.loads(subprocess.check_output(command, text=True))
    assert len(ours) > 50
    for name, entries in ours.items():
        assert entries.items() <= theirs[name].items(), name


# ------------------------------------------------------------------ tritonclient


def test_tritonclient_learns_what_there_is(client):
    found = client("describing")
    assert (found["live"], found["ready"]) == (True, True)
    assert found["models"] == [True, True, False]
    assert found["server"]["name"] == "spinert"
    assert [t["name"] for t in found["metadata"]["inputs"]] == ["image", "image_size"]
    assert found["config"]["config"]["input"][0]["dims"] == ["1", "-1", "-1"]
    assert [m["state"] for m in found["index"]["models"]] == ["READY"] * 3


def test_tritonclient_gets_a_verdict(client):
    found = client("unary")
    assert (found["id"], found["version"]) == ("seven", "1")
    assert found["boxes"] == [8, 4]
    assert found["class_names"] == ["Osteophytes"] * 8
    verdict = found["verdict"]["verdict"]
    assert found["probability"] == [verdict["abnormal_probability"]]
    assert found["verdict"]["provenance"]["notice"]


def test_tritonclient_sends_a_file(client, tmp_path):
    path = tmp_path / "frame.png"
    ramp = np.linspace(0, 255, 80 * 64).reshape(80, 64)
    Image.fromarray(ramp.astype(np.uint8)).save(path)
    assert client("files", path)["boxes"] == [8, 4]


def test_tritonclient_drives_a_network_alone(client):
    found = client("network")
    assert found["logits"] == [pytest.approx([-2.4, -1.9], abs=1e-5)] * 2
    assert int(found["stats"]["inference_count"]) >= 2


def test_tritonclient_streams(client):
    replies = client("stream")
    assert replies[:2] + replies[3:] == ["0", "1", "3", "4"]
    assert replies[2].startswith("parameter photometric_interpretation must be")


def test_tritonclient_uses_shared_memory(client):
    found = client("memory")
    assert found["registered"] == ["in", "out"]
    assert found["left"] == ["out"]
    assert found["probability"] == client("unary")["probability"]


def test_tritonclient_unloads_and_loads(client):
    assert client("control") == [False, True]


def test_tritonclient_is_told_what_is_wrong(client):
    statuses, messages = zip(*client("errors"), strict=True)
    assert statuses == (
        "StatusCode.INVALID_ARGUMENT",
        "StatusCode.NOT_FOUND",
        "StatusCode.INVALID_ARGUMENT",
    )
    assert messages[2].startswith("model 'spine' has no such input")


# ----------------------------------------------------------------- perf_analyzer


@pytest.mark.parametrize(
    "arguments",
    [
        ("--concurrency-range", 1),
        ("--concurrency-range", 2, "-b", 4),
        ("--concurrency-range", 4, "--streaming", "--async"),
        (
            *("--concurrency-range", 2),
            *("--shared-memory", "system", "--output-shared-memory-size", 1024),
        ),
    ],
    ids=["unary", "batched", "streaming", "shared memory"],
)
def test_perf_analyzer_drives_a_network(perf_analyzer, arguments):
    measured, said = perf_analyzer("classifier", "--input-data", "zero", *arguments)
    assert measured["Inferences/Second"] > 0
    # From our statistics: without them it would not get this far.
    assert measured["Server Compute Infer"] > 0
    assert "Unable to unregister" not in said


def test_perf_analyzer_drives_the_pipeline_with_files(perf_analyzer, tmp_path):
    buffer = io.BytesIO()
    ramp = np.linspace(0, 255, 80 * 64).reshape(80, 64).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, "PNG")
    file = buffer.getvalue()
    # It sends the bytes as they are, so their length is part of them.
    element = len(file).to_bytes(4, "little") + file
    data = tmp_path / "frames.json"
    data.write_text(
        json.dumps({"data": [{"frame": {"b64": b64encode(element).decode()}}]})
    )
    measured, _ = perf_analyzer("spine", "--input-data", data)
    assert measured["Server Compute Input"] > 0


def test_perf_analyzer_drives_the_pipeline_with_pixels(perf_analyzer, tmp_path):
    ramp = np.linspace(0, 4095, 80 * 64).astype(int).tolist()
    data = tmp_path / "images.json"
    data.write_text(
        json.dumps({"data": [{"image": {"content": ramp, "shape": [80, 64]}}]})
    )
    parameter = "photometric_interpretation:MONOCHROME2:string"
    arguments = ("--input-data", data, "--request-parameter", parameter)
    measured, _ = perf_analyzer("spine", *arguments, "--streaming", "--async")
    assert measured["Inferences/Second"] > 0
