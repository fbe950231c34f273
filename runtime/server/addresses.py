"""What HOST:PORT means on this machine, and whether it is free."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress

from spinert.runtime.errors import ConfigError, Reason, SetupError

__all__ = ["address_in_use", "addresses_from_listen", "bound_socket"]

_EVERYWHERE = ("0.0.0.0", "[::]")
"""gRPC takes either for both."""
_LOOPBACK = ("127.0.0.1", "[::1]")
"""What clients try for localhost (RFC 6761), whatever the file of hosts says."""
_FREE_PORTS_TRIED = 16


def addresses_from_listen(listen: str) -> tuple[str, ...]:
    """Return the addresses to bind for `listen`, their hosts as numbers; all are free.

    gRPC is content when it can bind one of several addresses of a name; clients would
    then reach whoever has the others. So each is to be bound by itself.

    Args:
        listen: HOST:PORT as ServerSettings admits it; port 0 stays 0 where there is
            one address, and becomes a port that is free on all where there are more.

    Raises:
        SetupError: Somebody listens on one of them.
        ConfigError: None is an address of this machine; its port is a privileged one.
    """
    host, _, digits = listen.rpartition(":")
    port = int(digits)
    if host in _EVERYWHERE:
        _free_hosts(_EVERYWHERE, port, listen)
        return (listen,)
    hosts = _free_hosts(_hosts_from_name(host), port, listen)
    if not port and len(hosts) > 1:
        port = _port_free_on_all(hosts, listen)
    return tuple(f"{one}:{port}" for one in hosts)


def bound_socket(address: str, *options: int) -> socket.socket:
    """Bind a TCP socket to `address`, whose host is a number.

    Args:
        address: 127.0.0.1:PORT or [::1]:PORT.
        options: Of the socket, to be switched on: SO_REUSEADDR, SO_REUSEPORT.

    Raises:
        OSError: It cannot be bound.
    """
    host, _, port = address.rpartition(":")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind((host.strip("[]"), int(port)))
    except OSError:
        bound.close()
        raise
    return bound


def address_in_use(listen: str, kind: str = "port") -> SetupError:
    """Say that somebody else listens on `listen`; `kind` is what to change."""
    return SetupError(
        Reason.ADDRESS_IN_USE,
        f"cannot listen on {listen}: stop what uses it, or choose another {kind}",
    )


def _hosts_from_name(host: str) -> Sequence[str]:
    if host.lower() == "localhost":
        return _LOOPBACK
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # no such name; nothing that could be one
        return ()
    numbers = [
        socket.getnameinfo(entry[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        for entry in found
    ]
    return [f"[{n}]" if ":" in n else n for n in dict.fromkeys(numbers)]


def _free_hosts(hosts: Sequence[str], port: int, listen: str) -> list[str]:
    """Return which of `hosts` this machine has; it may be without IPv6."""
    free = []
    for host in hosts:
        try:
            # As gRPC binds: what a server that ended left behind is in nobody's way.
            bound_socket(f"{host}:{port}", socket.SO_REUSEADDR).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise address_in_use(listen) from None
            if error.errno == errno.EACCES:
                raise ConfigError(
                    Reason.CONFIG_INVALID,
                    f"server.listen: the server's user may not listen on {listen}: "
                    "choose a port from 1024 on, or grant it CAP_NET_BIND_SERVICE",
                ) from None
        else:
            free.append(host)
    if not free:
        raise ConfigError(
            Reason.CONFIG_INVALID,
            f"server.listen: {listen} is not an address of this machine",
        )
    return free


def _port_free_on_all(hosts: Sequence[str], listen: str) -> int:
    for _ in range(_FREE_PORTS_TRIED):
        with suppress(OSError), bound_socket(f"{hosts[0]}:0") as first:
            port = int(first.getsockname()[1])
            for host in hosts[1:]:
                bound_socket(f"{host}:{port}", socket.SO_REUSEADDR).close()
            return port
    raise address_in_use(listen)
