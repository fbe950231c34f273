"""What a front process and the executor say to each other, one connection a call.

Packets of a Unix socket: a letter, then text or bytes. A large message crosses as
sealed memory, which is mapped and not copied; whoever took a front over could not
change it or cut it short. Nothing is ever pickled.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import mmap
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any

from spinert.runtime.frame import Buffer

__all__ = ["Kind", "Packet", "RelayConnection", "Status"]

INLINE_BYTES = 32 * 1024
"""Up to this a message is sent as it is."""
_MAX_PACKET_BYTES = 2 * INLINE_BYTES
_CUT_SHORT = socket.MSG_TRUNC | socket.MSG_CTRUNC
_SEALS = (
    fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
)


@unique
class Kind(Enum):
    """What a packet is; the first byte of it."""

    CALL = b"C"
    """Front: a call begins; JSON."""
    MESSAGE = b"M"
    """Either: a message as it is on the wire."""
    MEMORY = b"F"
    """Either: the same, in memory whose descriptor comes along."""
    DONE = b"D"
    """Front: the client sends no more."""
    TAKEN = b"T"
    """Executor: it has taken one message, another may come."""
    STATUS = b"S"
    """Executor: the call has ended; JSON."""


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as received; of a message, the bytes."""

    kind: Kind
    body: Buffer

    def values(self) -> dict[str, Any]:
        """Return the JSON of a CALL or STATUS."""
        found: dict[str, Any] = json.loads(bytes(self.body))
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How a call ended."""

    code: int = 0
    message: str = ""
    trailers: tuple[tuple[str, str | bytes], ...] = ()

    def to_json(self) -> bytes:
        """Write it; values of bytes, as in "-bin" trailers, in base64."""
        trailers = [
            [key, value]
            if isinstance(value, str)
            else [key, base64.b64encode(value).decode(), "bytes"]
            for key, value in self.trailers
        ]
        return json.dumps([self.code, self.message, trailers]).encode()

    @classmethod
    def from_json(cls, text: Buffer) -> Status:
        """Read what `to_json` wrote."""
        code, message, trailers = json.loads(bytes(text))
        return cls(
            code=code,
            message=message,
            trailers=tuple(
                (key, base64.b64decode(value) if kind else value)
                for key, value, *kind in trailers
            ),
        )


class RelayConnection:
    """One call's connection; belongs to the running event loop.

    A call with a gap is none: what cannot be sent or received whole ends it.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connected socket."""
        connection.setblocking(False)
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()

    def close(self) -> None:
        """Close it; the other side sees the end. Calling twice is harmless."""
        if (descriptor := self._socket.fileno()) >= 0:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        self._socket.close()

    async def send_message(self, message: bytes) -> None:
        """Send a message of any size.

        Raises:
            OSError: The other side has gone, or the system is short of memory or
                open files. Then both sides receive the end after what was sent.
        """
        if len(message) <= INLINE_BYTES:
            await self.send(Kind.MESSAGE, message)
            return
        with self._ending():
            memory = await _sealed_aside(message)
        try:
            await self.send(Kind.MEMORY, b"", (memory,))
        finally:
            os.close(memory)

    async def send(
        self, kind: Kind, body: bytes = b"", descriptors: Sequence[int] = ()
    ) -> None:
        """Send one packet; errors as for `send_message`."""
        packet = [kind.value + body]
        async with self._sending:
            with self._ending():
                while not self._is_sent(packet, descriptors):
                    await self._until(self._loop.add_writer, self._loop.remove_writer)

    def _is_sent(self, packet: list[bytes], descriptors: Sequence[int]) -> bool:
        try:
            socket.send_fds(self._socket, packet, descriptors)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError):  # it may be closed
                self._socket.shutdown(socket.SHUT_RDWR)
            raise

    async def receive(self) -> Packet | None:
        """Return the next packet; None once the other side has gone.

        Raises:
            ConnectionAbortedError: It is no whole packet, or this process has no
                room for its descriptor.
            OSError: The system is short of memory.
        """
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._socket, _MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await self._until(self._loop.add_reader, self._loop.remove_reader)
                continue
            except ConnectionResetError:
                # The other side has closed without reading all. Told once; what it
                # had sent before, such as a status, comes now.
                continue
            except OSError:
                return None
            return _packet(data, descriptors, flags) if data else None

    async def _until(
        self, add: Callable[..., object], remove: Callable[[int], object]
    ) -> None:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise ConnectionAbortedError
        ready: asyncio.Future[None] = self._loop.create_future()
        add(descriptor, _settle, ready)
        try:
            await ready
        finally:
            if self._socket.fileno() >= 0:
                remove(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _sealed_aside(message: bytes) -> int:
    # Copying 15 MB takes milliseconds: not on the event loop.
    sealing = asyncio.ensure_future(asyncio.to_thread(_sealed, message))
    try:
        return await asyncio.shield(sealing)
    except asyncio.CancelledError:
        # The thread goes on: nobody else would close what it returns.
        sealing.add_done_callback(_close_sealed)
        raise


def _close_sealed(sealing: asyncio.Future[int]) -> None:
    if not sealing.cancelled() and sealing.exception() is None:
        os.close(sealing.result())


def _sealed(message: bytes) -> int:
    memory = os.memfd_create("spinert-relay", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(message)
        while rest:
            rest = rest[os.write(memory, rest) :]
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(memory)
        raise
    return memory


def _packet(data: bytes, descriptors: Sequence[int], flags: int) -> Packet:
    """Check a packet and map its memory; the descriptors are closed."""
    try:
        kind = _KINDS.get(data[:1])
        expected = 1 if kind is Kind.MEMORY else 0
        if kind is None or flags & _CUT_SHORT or len(descriptors) != expected:
            raise ConnectionAbortedError("not a whole packet")
        return Packet(kind, _mapped(descriptors[0]) if descriptors else data[1:])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _mapped(memory: int) -> memoryview:
    size = os.fstat(memory).st_size
    if not size or fcntl.fcntl(memory, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ConnectionAbortedError("the memory is empty or could still be changed")
    # Private: kernels before 6.7 do not share write-sealed memory. Unmapped when
    # the last view of it is gone.
    return memoryview(mmap.mmap(memory, size, mmap.MAP_PRIVATE, mmap.PROT_READ))
