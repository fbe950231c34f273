"""The C++ device example is built and talks to a real server."""

import asyncio
import re

import numpy as np
import pytest
from support.devices import (
    LOST,
    SHARED,
    built_device,
    fronted_device,
    left_in_shared_memory,
    run,
    through_a_proxy,
    verdict_of,
)
from support.fronts import ScriptedEngine
from support.servers import serving, write_served_bundle


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return built_device(tmp_path_factory)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_served_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def sharing_server(bundle, tmp_path_factory):
    """Return a server with room for one region, so that a forgotten one shows."""
    settings = {"shared_memory": True, "max_regions": 1}
    with serving(bundle, tmp_path_factory.mktemp("server"), server=settings) as running:
        yield running


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    with serving(bundle, tmp_path_factory.mktemp("server")) as running:
        yield running


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


@pytest.mark.slow
def test_a_connection_that_breaks_in_the_middle_of_the_frame_is_resumed(device, server):
    done, proxy = through_a_proxy(device, server, cuts=[("up", 500_000)])
    assert (done.returncode, proxy.connections) == (0, 2)
    assert done.stderr.splitlines() == [LOST]
    assert done.stdout.startswith("decision DECISION_")


@pytest.mark.slow
def test_pixels_in_shared_memory_do_not_pass_the_socket(device, server, sharing_server):
    expected = verdict_of(run(device, server.address))
    for _ in range(2):
        done, proxy = through_a_proxy(device, sharing_server, options=[SHARED])
        assert (done.returncode, done.stderr) == (0, "")
        assert verdict_of(done) == expected
        assert proxy.passed["up"] < 2000
        assert not left_in_shared_memory()


@pytest.mark.slow
def test_a_stream_that_is_resumed_tells_of_the_shared_memory_again(
    device, sharing_server
):
    _, whole = through_a_proxy(device, sharing_server, options=[SHARED])
    # Within the answer: the stream is open by then, and the frame was read.
    cut = ("down", whole.passed["down"] - 400)
    done, proxy = through_a_proxy(device, sharing_server, [cut], options=[SHARED])
    assert (done.returncode, proxy.connections) == (0, 2)
    assert done.stderr.splitlines() == [LOST]
    assert done.stdout.startswith("decision DECISION_")
    assert not left_in_shared_memory()


@pytest.mark.slow
def test_a_server_without_shared_memory_says_what_to_do(device, server):
    done = run(device, SHARED, server.address)
    assert done.returncode == 1
    assert "server.shared_memory" in done.stderr
    assert not left_in_shared_memory()


@pytest.mark.slow
def test_a_device_has_the_name_it_is_given_and_memory_that_nobody_else_can_have(device):
    engine = ScriptedEngine(is_held=True)

    async def main():
        context = fronted_device(
            device, engine, [SHARED, "--device", "room 3"], shared_memory=True
        )
        async with context as (front, _, running):
            await engine.has(1)
            regions = front.regions.status()
            engine.finish(0)
            return await running, regions

    done, [region] = asyncio.run(main())
    assert done.returncode == 0
    assert engine.requests[0].device == "room 3"
    # The number of a process would not do: another may have the same.
    assert re.fullmatch(r"/spinert-device-[0-9a-f]{32}", region.key)
    assert region.name == region.key


@pytest.mark.slow
def test_wrong_arguments_are_answered_with_the_usage(device):
    for arguments in (
        [],
        [SHARED],
        ["--device"],
        ["--what", "localhost:1"],
        ["a", "b"],
    ):
        done = run(device, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: spinert_device [--shared-memory] ")
    done = run(device, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: spinert_device")


@pytest.mark.slow
def test_a_wrong_argument_is_named(device, tmp_path):
    missing, empty = tmp_path / "missing.raw", tmp_path / "empty.raw"
    empty.touch()
    for arguments, told in [
        (["f", "12x", 100], "ROWS must be a whole number, not '12x'"),
        (["f", 90, -1], "COLUMNS must be a whole number, not '-1'"),
        (["f", 90, 100, 2**32], "BITS_STORED must be a whole number, not '4294967296'"),
        ([missing, 90, 100], f"cannot read {missing}"),
        ([SHARED, empty, 90, 100], f"{empty} is empty"),
    ]:
        done = run(device, "localhost:1", *arguments)
        assert (done.returncode, done.stderr) == (2, told + "\n")
