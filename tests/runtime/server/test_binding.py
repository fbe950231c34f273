"""Unix sockets: who may connect, who comes second, and what is left."""

import asyncio
import os
import signal
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from support.fronts import ScriptedEngine, serving_front
from support.servers import serving, write_served_bundle
from support.wires import raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import AsyncClient
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import ConfigError, Reason, SetupError


@pytest.fixture
def path(tmp_path, monkeypatch):
    # Paths of sockets are short; those of pytest are not.
    monkeypatch.chdir(tmp_path)
    directory = Path(f"/tmp/spinert-{os.getpid()}")
    directory.mkdir(mode=0o700, exist_ok=True)
    yield directory / "s"
    (directory / "s").unlink(missing_ok=True)
    directory.rmdir()


def at(path, **changes):
    return replace(ServerSettings(listen=f"unix:{path}"), **changes)


def listening(settings, script=None):
    async def main():
        async with serving_front(ScriptedEngine(), settings) as front:
            return await script(front) if script else None

    return asyncio.run(main())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_frames_are_answered_over_a_socket_that_is_this_users_alone(path):
    async def script(front):
        assert front.address == f"unix:{path}"
        assert mode(path) == 0o600
        async with stub_of(front.address) as stub:
            await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))
        async with AsyncClient(front.address) as client:
            return await client.wait_ready(10)

    before = os.umask(0)
    try:
        info = listening(at(path), script)
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert info.bundle_name == "tiny"
    assert not path.exists()


def test_the_socket_is_open_to_nobody_else_before_its_mode_is_set(path, monkeypatch):
    before, real = [], Path.chmod

    def chmod(changed, new):
        before.append(mode(changed))
        real(changed, new)

    monkeypatch.setattr(Path, "chmod", chmod)
    listening(at(path, socket_mode=0o666))
    assert before == [0o600]


def test_the_socket_may_be_opened_to_a_group(path):
    async def script(front):
        return mode(path)

    assert listening(at(path, socket_mode=0o660), script) == 0o660


def test_the_socket_of_a_server_that_was_killed_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.exists()

    async def script(front):
        async with stub_of(front.address) as stub:
            await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))

    listening(at(path), script)


def test_the_socket_of_a_living_server_is_left_alone(path):
    async def script(front):
        with pytest.raises(SetupError) as caught:
            async with serving_front(ScriptedEngine(), at(path)):
                pass
        assert caught.value.reason is Reason.ADDRESS_IN_USE
        async with stub_of(front.address) as stub:
            await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))

    listening(at(path), script)


def test_a_file_is_never_taken_for_a_socket(path):
    path.write_text("precious")
    with pytest.raises(ConfigError, match="no socket"):
        listening(at(path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("wrong", ["/nowhere/at/all/s", "/tmp/" + "s" * 200])
def test_a_path_where_no_socket_can_be_is_a_configuration_error(wrong):
    with pytest.raises(ConfigError, match=r"server\.listen"):
        listening(at(wrong))


@pytest.mark.parametrize("listen", ["unix:", "unix:relative", "localhost"])
def test_an_address_of_no_known_form_is_a_configuration_error(listen):
    with pytest.raises(ConfigError, match="unix:/PATH"):
        ServerSettings(listen=listen)


def test_a_server_is_reached_over_its_socket_and_removes_it(path, tmp_path):
    bundle = write_served_bundle(tmp_path / "bundle")
    where = {"listen": f"unix:{path}"}
    with serving(bundle, tmp_path / "work", server=where) as server:
        assert server.address == f"unix:{path}"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    assert not path.exists()
