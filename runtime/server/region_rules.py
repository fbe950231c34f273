"""Which shared memory may be used, decided on what is known of it."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import Reason, RegionRefused

__all__ = [
    "MAX_REGION_NAME_BYTES",
    "ObjectState",
    "RegionLimits",
    "RegionSpan",
    "checked_span",
    "file_name_from_key",
    "is_local",
    "limits_from_server_settings",
    "refuse_object",
    "refuse_remote",
    "refuse_short",
]

MAX_REGION_NAME_BYTES = 128
_MAX_FILE_NAME_BYTES = 255  # NAME_MAX
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionLimits:
    """What the operator admits."""

    is_on: bool = False
    users: frozenset[int] = frozenset()
    """Numbers of those whose memory may be used, the server's own included."""
    key_prefix: str = "/spinert-"
    """What a key begins with."""
    max_regions: int = 32
    max_region_bytes: int = 1024 * _MIB
    max_frame_bytes: int = 64 * _MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionSpan:
    """A region as its client describes it."""

    name: str
    key: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Return the offset behind the last byte, in the object."""
        return self.offset + self.length


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectState:
    """What fstat says of an object."""

    mode: int
    """st_mode: the kind of file and its permissions."""
    user: int
    size_bytes: int


def limits_from_server_settings(settings: ServerSettings, user: int) -> RegionLimits:
    """Return the limits of a server that runs as `user`."""
    return RegionLimits(
        is_on=settings.shared_memory,
        users=frozenset({user, *settings.shared_memory_users}),
        key_prefix=settings.shared_memory_prefix,
        max_regions=settings.max_regions,
        max_region_bytes=settings.max_region_mib * _MIB,
        max_frame_bytes=settings.max_message_mib * _MIB,
    )


def checked_span(span: RegionSpan, limits: RegionLimits) -> RegionSpan:
    """Return `span` if a region could look like it.

    Raises:
        RegionRefused: REGION_INVALID, SHARED_MEMORY_FORBIDDEN or REGION_TOO_LARGE.
    """
    if not 1 <= len(span.name.encode()) <= MAX_REGION_NAME_BYTES:
        raise _invalid(f"a region's name has 1 to {MAX_REGION_NAME_BYTES} bytes")
    # As with shm_open, the slash may be missing.
    if not f"/{file_name_from_key(span.key)}".startswith(limits.key_prefix):
        raise _forbidden(
            f"the server uses only objects whose key begins with {limits.key_prefix}: "
            "name it so, or change server.shared_memory_prefix"
        )
    if span.offset < 0 or span.length < 1:
        raise _invalid("a region begins at 0 or later and has at least 1 byte")
    if span.length > limits.max_region_bytes:
        raise RegionRefused(
            Reason.REGION_TOO_LARGE,
            f"the region has {span.length} bytes and {limits.max_region_bytes} are "
            "allowed (server.max_region_mib)",
        )
    return span


def file_name_from_key(key: str) -> str:
    """Return the file's name below the directory of shared memory.

    A key is what shm_open takes: a slash and a name without any other.

    Raises:
        RegionRefused: REGION_INVALID.
    """
    name = key.removeprefix("/")
    is_name = 1 <= len(name.encode()) <= _MAX_FILE_NAME_BYTES
    if not is_name or "/" in name or "\0" in name or name in (".", ".."):
        raise _invalid("a key is a slash and a name of 1 to 255 bytes without slashes")
    return name


def refuse_object(state: ObjectState, span: RegionSpan, limits: RegionLimits) -> None:
    """Refuse an object that is not its owner's alone to write, or too small.

    Raises:
        RegionRefused: SHARED_MEMORY_FORBIDDEN or SHARED_MEMORY_TOO_SMALL.
    """
    if not stat.S_ISREG(state.mode):
        raise _forbidden("the key names no shared memory object")
    if state.user not in limits.users:
        raise _forbidden(
            f"the object belongs to user {state.user}: create it as the server's "
            "user, or list the user in server.shared_memory_users"
        )
    if state.mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _forbidden("others can write the object: create it with mode 0600")
    if state.size_bytes < span.end:
        raise RegionRefused(
            Reason.SHARED_MEMORY_TOO_SMALL,
            f"the region ends at byte {span.end} and the object has "
            f"{state.size_bytes}: make it larger first",
        )


def refuse_short(offset: int, length: int, available: int) -> None:
    """Refuse a span that does not lie in a region of `available` bytes.

    Raises:
        RegionRefused: REGION_INVALID or SHARED_MEMORY_TOO_SMALL.
    """
    if offset < 0 or length < 1:
        raise _invalid("a span begins at 0 or later and has at least 1 byte")
    if offset + length > available:
        raise RegionRefused(
            Reason.SHARED_MEMORY_TOO_SMALL,
            f"bytes {offset} to {offset + length} are asked for and the region has "
            f"{available}: correct offset and length",
        )


def is_local(peer: str) -> bool:
    """Tell whether `peer`, as gRPC names it, is of this machine.

    As in "unix:", "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711". Only loopback
    counts: an own address seen from outside could be another machine's.
    """
    scheme, _, rest = peer.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme not in ("ipv4", "ipv6"):
        return False
    host = unquote(rest).rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_remote(peer: str) -> None:
    """Refuse a peer of another machine.

    Raises:
        RegionRefused: SHARED_MEMORY_NOT_LOCAL.
    """
    if not is_local(peer):
        raise RegionRefused(
            Reason.SHARED_MEMORY_NOT_LOCAL,
            "shared memory is for clients of this machine: connect over loopback or "
            "a Unix socket, or send the pixels in the message",
        )


def _invalid(message: str) -> RegionRefused:
    return RegionRefused(Reason.REGION_INVALID, message)


def _forbidden(message: str) -> RegionRefused:
    return RegionRefused(Reason.SHARED_MEMORY_FORBIDDEN, message)
