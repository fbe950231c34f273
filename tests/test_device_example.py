"""The C++ device example is built and talks to a real server."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.servers import serving, write_served_bundle

ROOT = Path(__file__).parents[1]
REQUIRED = "SPINERT_REQUIRE_TOOLS"


def missing_tools():
    missing = [t for t in ("cmake", "protoc", "grpc_cpp_plugin") if not shutil.which(t)]
    probe = ["pkg-config", "--exists", "grpc++", "protobuf"]
    if not shutil.which("pkg-config") or subprocess.run(probe).returncode:
        missing.append("libgrpc++-dev")
    return missing


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    if missing := missing_tools():
        # CI installs them, so that there a missing one is a failure.
        end = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
        end(f"the C++ example needs {', '.join(missing)}")
    build = tmp_path_factory.mktemp("device")
    options = ["-DSPINERT_DEVICE_EXAMPLE=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    configure = ["cmake", "-S", ROOT, "-B", build, *options]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    return build / "examples" / "device" / "spinert_device"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_served_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    with serving(bundle, tmp_path_factory.mktemp("server")) as running:
        yield running


def run(device, *arguments):
    command = [device, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_it_prints_the_verdict_of_a_gradient_and_the_stage_times(device, server):
    done = run(device, server.address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("decision DECISION_")
    stages = {line.split()[1] for line in lines if line.startswith("stage ")}
    assert {"prepare", "classifier", "detector", "decide"} <= stages
    assert "notice for tests only" in lines


@pytest.mark.slow
def test_it_sends_a_file_of_stored_values(device, server, tmp_path):
    pixels = np.full((90, 100), 100, "<u2")
    pixels[40:, :] = 40000
    (tmp_path / "frame.raw").write_bytes(pixels.tobytes())
    done = run(device, server.address, tmp_path / "frame.raw", 90, 100)
    assert done.returncode == 0
    assert "DECISION_ABNORMAL" in done.stdout


@pytest.mark.slow
def test_a_refused_frame_is_a_failure_with_its_reason(device, server, tmp_path):
    (tmp_path / "short.raw").write_bytes(b"12")
    done = run(device, server.address, tmp_path / "short.raw", 90, 100)
    assert done.returncode == 1
    assert done.stderr.startswith("refused PIXEL_DATA_LENGTH")


@pytest.mark.slow
def test_no_server_is_a_failure(device):
    done = run(device, "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("stream ended with code 14")


@pytest.mark.slow
def test_a_message_over_the_servers_limit_is_never_sent(device, bundle, tmp_path):
    with serving(bundle, tmp_path, server={"max_message_mib": 1}) as small:
        (tmp_path / "frame.raw").write_bytes(bytes(2 * 800 * 800))
        done = run(device, small.address, tmp_path / "frame.raw", 800, 800)
    assert done.returncode == 1
    assert done.stderr.startswith("refused MESSAGE_TOO_LARGE: 12800")
    assert "stream ended" not in done.stderr
