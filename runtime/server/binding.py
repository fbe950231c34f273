"""Where a server listens: a port, or a socket in the file system."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

import grpc

from spinert.runtime.config import UNIX_SCHEME, ServerSettings
from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.server.addresses import address_in_use, addresses_from_listen
from spinert.runtime.server.relay_server import RelayServer

__all__ = ["bind"]

_PROBE_S = 2.0


def bind(server: grpc.aio.Server | RelayServer, settings: ServerSettings) -> str:
    """Make `server` listen as `settings` say; return the address as bound.

    gRPC removes the socket of a Unix address when the server stops.

    Raises:
        SetupError: The address is taken, or one of those that it stands for.
        ConfigError: The address is none of this machine; its port is a privileged one.
    """
    if settings.listen.startswith(UNIX_SCHEME):
        _bind_socket(server, settings)
        return settings.listen
    host = settings.listen.rpartition(":")[0]
    try:
        for address in addresses_from_listen(settings.listen):
            port = server.add_insecure_port(address)
    except RuntimeError:  # taken since it was seen to be free
        raise address_in_use(settings.listen) from None
    return f"{host}:{port}"


def _bind_socket(
    server: grpc.aio.Server | RelayServer, settings: ServerSettings
) -> None:
    path = Path(settings.listen.removeprefix(UNIX_SCHEME))
    _remove_stale(path)
    # It must not be open to others for a moment before its mode is set.
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(f"{UNIX_SCHEME}{path}")
        path.chmod(settings.socket_mode)
    except (RuntimeError, OSError):
        raise ConfigError(
            Reason.CONFIG_INVALID,
            f"server.listen: no socket can be made at {path}: its directory must be "
            "there and belong to the server's user, and the path be short",
        ) from None
    finally:
        os.umask(mask)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that is gone; gRPC would take a living one's.

    Raises:
        SetupError: A server lives there.
        ConfigError: The path is taken by something else.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(
                Reason.CONFIG_INVALID,
                f"server.listen: {path} is there and no socket; choose another path",
            )
        if _is_answered(path):
            raise address_in_use(f"{UNIX_SCHEME}{path}", "path")
        path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # full, or not for this user: somebody's
            return True
    return True
