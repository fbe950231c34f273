"""Starting front processes: they listen, or say why not, and end when told."""

import asyncio
import errno
import gc
import socket
import sys
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import psutil
import pytest

from spinert.runtime.errors import Reason, SetupError
from spinert.runtime.server import relay_process, relay_server
from spinert.runtime.server.options import server_options
from spinert.runtime.server.relay_directory import socket_in
from spinert.runtime.server.relay_front import _bind_errno
from spinert.runtime.server.relay_process import FrontSettings, listening_front
from spinert.runtime.server.relay_server import RelayServer


@pytest.fixture
def taken():
    """Yield the HOST:PORT of somebody else."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def settings(listen="127.0.0.1:0"):
    return FrontSettings(listen=[listen], executor="/nowhere", options=server_options())


def failure(*arguments):
    async def main():
        with pytest.raises(SetupError) as caught:
            async with listening_front(*arguments):
                pass
        return caught.value

    before = set(psutil.Process().children())
    error = asyncio.run(main())
    assert children_since(before) == set()
    return error


def children_since(before):
    """Return who runs that was not there before: other tests leave helpers."""
    return set(filter(runs, psutil.Process().children())) - before


def runs(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def script(text):
    return (sys.executable, "-c", text)


def test_a_front_that_cannot_bind_says_why(taken):
    error = failure(settings(taken))
    assert error.reason is Reason.ADDRESS_IN_USE
    assert f"cannot listen on {taken} (EADDRINUSE)" in error.message


@pytest.mark.parametrize("says", ["raise SystemExit(3)", "print('hi')", "print(7)"])
def test_a_front_that_ends_without_a_word_is_an_error_of_its_own(says):
    error = failure(settings(), script(says))
    assert error.reason is Reason.CONFIG_INVALID
    assert "ended before it could listen" in error.message


def test_a_system_that_starts_no_process_is_named():
    error = failure(settings(), ("/no/such/program",))
    assert error.reason is Reason.CONFIG_INVALID
    assert "(ENOENT)" in error.message


def test_a_front_that_says_nothing_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(relay_process, "_START_S", 0.1)
    error = failure(settings(), script("import sys; sys.stdin.read()"))
    assert "did not listen within 0.1 s" in error.message


@pytest.mark.parametrize(
    ("then", "code"), [("sys.stdin.read()", 0), ("time.sleep(600)", -9)]
)
def test_a_front_ends_when_told_or_is_killed(monkeypatch, then, code):
    if code:
        monkeypatch.setattr(relay_process, "_END_S", 0.1)
    says = script(f"import sys, time; print('{{\"listens\": 1}}', flush=True); {then}")

    async def main():
        async with listening_front(settings(), says) as front:
            assert front.returncode is None
        return front.returncode

    assert asyncio.run(main()) == code


def test_a_server_whose_fronts_cannot_bind_does_not_start(taken):
    async def main():
        server = RelayServer(2, server_options())
        server.add_insecure_port("127.0.0.1:0")
        server._listen = [taken]  # as if it were lost between the two
        with pytest.raises(SetupError) as caught:
            await server.start()
        return caught.value, server._directory

    before = set(psutil.Process().children())
    error, directory = asyncio.run(main())
    assert error.reason is Reason.ADDRESS_IN_USE
    assert children_since(before) == set()
    assert not Path(directory).exists()


def test_a_port_that_fronts_may_share_is_none_that_cannot_be_bound(taken):
    with socket.socket() as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(("127.0.0.1", 0))
        assert _bind_errno(f"127.0.0.1:{shared.getsockname()[1]}") == 0
    assert _bind_errno(taken) == errno.EADDRINUSE
    assert _bind_errno("192.0.2.1:0") == errno.EADDRNOTAVAIL


class Ending:
    """A front that ends."""

    async def wait(self):
        return 1


class Staying:
    """A front that does nothing."""

    async def wait(self):
        await asyncio.Event().wait()


def test_a_front_that_does_not_come_back_at_once_is_tried_again(monkeypatch, caplog):
    starts = []

    @asynccontextmanager
    async def scripted(settings):
        starts.extend(settings.listen)
        if len(starts) == 2:
            raise SetupError(Reason.CONFIG_INVALID, "no memory")
        yield Ending() if len(starts) == 1 else Staying()

    async def main():
        server = RelayServer(1, server_options())
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with asyncio.timeout(10):
            while len(starts) < 3:
                await asyncio.sleep(0.01)
        await server.stop(None)
        return port

    monkeypatch.setattr(relay_server, "listening_front", scripted)
    port = asyncio.run(main())
    assert starts == [f"127.0.0.1:{port}"] * 3
    told = [(r.getMessage(), r.spinert_fields) for r in caplog.records]
    assert told == [
        ("front_ended", {"code": 1}),
        ("front_not_started", {"why": "no memory"}),
    ]


def test_who_speaks_no_relay_is_hung_up_on_without_a_word(monkeypatch, caplog):
    @asynccontextmanager
    async def scripted(settings):
        yield Staying()

    async def main():
        server = RelayServer(1, server_options())
        server.add_insecure_port("127.0.0.1:0")
        await server.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.setblocking(False)
            stranger.connect(str(socket_in(server._directory)))
            stranger.send(b"?")
            async with asyncio.timeout(10):
                loop = asyncio.get_running_loop()
                assert await loop.sock_recv(stranger, 100) == b""
        await server.stop(None)

    monkeypatch.setattr(relay_server, "listening_front", scripted)
    asyncio.run(main())
    gc.collect()
    assert not caplog.records
