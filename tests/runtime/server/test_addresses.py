"""HOST:PORT: which addresses it stands for, and who has them."""

import asyncio
import errno
import socket
from contextlib import closing

import pytest
from support.fronts import ScriptedEngine, serving_front
from support.wires import raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import ConfigError, Reason, SetupError
from spinert.runtime.server import addresses
from spinert.runtime.server.addresses import addresses_from_listen, bound_socket

FRONTS = pytest.mark.parametrize("fronts", [1, 2])


def has_ipv6():
    try:
        bound_socket("[::1]:0").close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


def somebody_at(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return closing(socket.create_server((host, 0), family=family))


def listening(settings, script=None):
    async def main():
        async with serving_front(ScriptedEngine(), settings) as front:
            return await script(front) if script else None

    return asyncio.run(main())


@FRONTS
@pytest.mark.parametrize("listen", ["localhost", "0.0.0.0", "[::]"])
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_name_is_not_served_in_part_when_somebody_has_the_rest(host, listen, fronts):
    with somebody_at(host) as other:
        port = other.getsockname()[1]
        with pytest.raises(SetupError) as caught:
            listening(ServerSettings(listen=f"{listen}:{port}", fronts=fronts))
    assert caught.value.reason is Reason.ADDRESS_IN_USE
    assert f"{listen}:{port}" in caught.value.message


@FRONTS
@needs_ipv6
def test_all_addresses_of_a_name_are_served_at_one_port(fronts):
    async def script(front):
        port = front.address.removeprefix("localhost:")
        for host in ("127.0.0.1", "[::1]"):
            async with stub_of(f"{host}:{port}") as stub:
                await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))

    listening(ServerSettings(listen="localhost:0", fronts=fronts), script)


def without(*missing):
    """Return `bound_socket` of a machine without some addresses."""

    def bound(address, *options):
        if address.rpartition(":")[0] in missing:
            raise OSError(errno.EADDRNOTAVAIL, "none of this machine")
        return bound_socket(address, *options)

    return bound


def test_a_machine_without_ipv6_serves_what_it_has(monkeypatch):
    monkeypatch.setattr(addresses, "bound_socket", without("[::1]", "[::]"))
    assert addresses_from_listen("localhost:0") == ("127.0.0.1:0",)
    assert addresses_from_listen("[::]:0") == ("[::]:0",)
    monkeypatch.setattr(addresses, "bound_socket", without("[::1]", "127.0.0.1"))
    with pytest.raises(ConfigError, match="not an address of this machine"):
        addresses_from_listen("localhost:0")


def found_at(*hosts):
    def found(name, port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts
        ]

    return found


def test_an_address_that_a_name_has_twice_is_bound_once(monkeypatch):
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.1")
    monkeypatch.setattr(socket, "getaddrinfo", found_at(*hosts))
    one, other = addresses_from_listen("some.name:0")
    assert one.startswith("127.0.0.1:")
    assert other == one.replace("127.0.0.1", "127.0.0.2") != "127.0.0.2:0"


def test_the_port_of_a_server_that_just_ended_is_free(monkeypatch):
    with somebody_at("127.0.0.1") as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # first: this side keeps the port, in TIME_WAIT
        client.close()
    assert addresses_from_listen(f"127.0.0.1:{port}") == (f"127.0.0.1:{port}",)


def test_a_port_that_this_user_may_not_have_is_told_as_such(monkeypatch):
    def denied(address, *options):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(addresses, "bound_socket", denied)
    with pytest.raises(ConfigError, match=r"may not listen on localhost:443.* 1024"):
        addresses_from_listen("localhost:443")


WRONG = ["localhost:abc", "127.0.0.1:70000", "127.0.0.1:-1", "h:" + "1" * 6, ":5", "h:"]


@pytest.mark.parametrize("listen", [*WRONG, "::1:50051", "h:1:2", "h:\u0665", "[]:1"])
def test_what_is_no_host_and_port_is_refused_before_anything_starts(listen):
    with pytest.raises(ConfigError, match="the port from 0 to 65535"):
        ServerSettings(listen=listen)


@pytest.mark.parametrize("listen", ["h:0", "h:65535", "[::1]:00080", "10.0.0.1:50051"])
def test_what_is_a_host_and_port_is_taken(listen):
    assert ServerSettings(listen=listen).listen == listen


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70, "192.0.2.1"])
def test_a_host_that_is_none_of_this_machine_is_a_configuration_error(host):
    with pytest.raises(ConfigError, match="not an address of this machine"):
        addresses_from_listen(f"{host}:0")
