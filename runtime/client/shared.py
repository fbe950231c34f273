"""Frames in shared memory: for a client on the machine of its server.

Only the place of the pixels crosses the socket. Memory is divided into slots; a
frame takes one until its answer is there.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import uuid
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.errors import RequestFailed, failure_from_rpc_error
from spinert.runtime.client.frames import Frame
from spinert.runtime.errors import Reason
from spinert.runtime.frame import Buffer

__all__ = ["SharedMemory", "SharedSender", "SharedStream"]

_MIB = 2**20
_PAGE_BYTES = 4096
_DIRECTORY = Path("/dev/shm")
"""Where shm_open has its objects."""
_REGISTER_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedMemory:
    """How much memory a client shares with its server.

    It is created when the client is entered, belongs to its user alone and is
    removed when the client is left. A frame larger than a slot goes the usual way.
    """

    slots: int = 4
    """Frames that can lie in it; more have to wait for answers."""
    slot_mib: int = 16

    def __post_init__(self) -> None:
        """Reject memory that could not hold a frame."""
        if self.slots < 1 or self.slot_mib < 1:
            raise ValueError("shared memory needs a slot, and each a MiB, at least")


class SharedSender:
    """The shared memory of one client, registered with its server.

    Belongs to the event loop of its client.
    """

    def __init__(self, settings: SharedMemory, channel: grpc.aio.Channel) -> None:
        """Create the memory; it is registered when the first frame needs it.

        Raises:
            OSError: The machine has not that much shared memory.
        """
        self._register = channel.unary_unary(
            "/spinert.v1.SpineInference/RegisterRegion",
            request_serializer=pb.RegisterRegionRequest.SerializeToString,
            response_deserializer=pb.RegisterRegionReply.FromString,
        )
        self._unregister = channel.unary_unary(
            "/spinert.v1.SpineInference/UnregisterRegion",
            request_serializer=pb.UnregisterRegionRequest.SerializeToString,
            response_deserializer=pb.UnregisterRegionReply.FromString,
        )
        self._slot_bytes = settings.slot_mib * _MIB
        self._name = f"spinert-{uuid.uuid4().hex}"
        self._memory = _created(self._name, settings.slots * self._slot_bytes)
        path = _DIRECTORY / self._name
        self._remove = weakref.finalize(self, path.unlink, missing_ok=True)
        self._view = memoryview(self._memory)
        self._address = _address(self._view)
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(settings.slots):
            self._free.put_nowait(slot)
        self._is_registered = False

    async def close(self) -> None:
        """Unregister and remove the memory."""
        if self._is_registered:
            # A server that is gone, or has forgotten it, needs no telling.
            with suppress(grpc.aio.AioRpcError):
                request = pb.UnregisterRegionRequest(region=self._name)
                await self._unregister(request, timeout=_REGISTER_S)
        self._remove()

    async def register(self) -> None:
        """Tell the server of the memory; a second time is harmless.

        Raises:
            RequestFailed: It uses no shared memory, or not this client's.
        """
        try:
            await self.tell()
        except grpc.aio.AioRpcError as error:
            raise failure_from_rpc_error(error) from error

    async def tell(self) -> None:
        """Do as `register`, for those who try again themselves.

        Raises:
            grpc.aio.AioRpcError: It uses no shared memory, or not this client's, or
                cannot be reached.
        """
        request = pb.RegisterRegionRequest(
            region=self._name, key=f"/{self._name}", length=len(self._memory)
        )
        try:
            await self._register(request, timeout=_REGISTER_S)
        except grpc.aio.AioRpcError as error:
            if failure_from_rpc_error(error).reason != Reason.REGION_TAKEN:
                raise
        self._is_registered = True

    async def analyze(
        self, frame: Frame, send: Callable[[Frame], Awaitable[pb.Result]]
    ) -> pb.Result:
        """Send `frame` from a slot; a server that was restarted is told again.

        Raises:
            RequestFailed: No answer; `reason` says why.
        """
        async with self._placed(frame) as placed:
            if placed.shared is not None and not self._is_registered:
                await self.register()
            try:
                return await send(placed)
            except RequestFailed as failure:
                if failure.reason != Reason.REGION_UNKNOWN:
                    raise
            await self.register()
            return await send(placed)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[memoryview]:
        """Lend a slot to write pixels into, once one is free.

        A frame whose payload lies in it is sent from there, without a copy.
        """
        slot = await self._free.get()
        start = slot * self._slot_bytes
        try:
            yield self._view[start : start + self._slot_bytes]
        finally:
            self._free.put_nowait(slot)

    def stream(self) -> SharedStream:
        """Return what places the frames of one stream."""
        return SharedStream(self)

    async def place(self, frame: Frame) -> tuple[Frame, int | None]:
        """Return `frame` as it lies in memory, and the slot taken for it, if any."""
        size = len(frame.payload)
        start = _address(frame.payload) - self._address if size else -1
        if 0 <= start <= len(self._memory) - size:
            return self._lying(frame, start), None
        if not 0 < size <= self._slot_bytes:
            return frame, None
        slot = await self._free.get()
        start = slot * self._slot_bytes
        self._view[start : start + size] = frame.payload
        return self._lying(frame, start), slot

    def free(self, slot: int | None) -> None:
        """Take back what `place` took."""
        if slot is not None:
            self._free.put_nowait(slot)

    def _lying(self, frame: Frame, start: int) -> Frame:
        shared = pb.SharedBytes(
            region=self._name, offset=start, length=len(frame.payload)
        )
        return replace(frame, payload=b"", shared=shared)

    @asynccontextmanager
    async def _placed(self, frame: Frame) -> AsyncIterator[Frame]:
        placed, slot = await self.place(frame)
        try:
            yield placed
        finally:
            self.free(slot)


class SharedStream:
    """Places the frames of one stream, and frees their slots as answers come."""

    def __init__(self, sender: SharedSender) -> None:
        """Take slots of `sender`."""
        self._sender = sender
        self._slots: dict[int, int | None] = {}

    async def frames(self, source: AsyncIterator[Frame]) -> AsyncGenerator[Frame, None]:
        """Yield the frames of `source` as they lie in memory, once slots are free.

        Raises:
            RequestFailed: The server uses no shared memory, or not this client's.
        """
        # Again for each stream: it may be another server by now.
        await self._sender.register()
        sequence = 0
        async for frame in source:
            sequence += 1
            placed, self._slots[sequence] = await self._sender.place(frame)
            yield placed

    def answered(self, sequence: int) -> None:
        """Free the slot of a frame."""
        self._sender.free(self._slots.pop(sequence, None))

    def close(self) -> None:
        """Free the slots of all frames: nobody waits for their answers."""
        for sequence in tuple(self._slots):
            self.answered(sequence)


def _created(name: str, n_bytes: int) -> mmap.mmap:
    """Create an object of this user's and map it, all of it there already."""
    path = _DIRECTORY / name
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        # Without it, writing to a full file system would kill this process.
        os.posix_fallocate(descriptor, 0, n_bytes)
        memory = mmap.mmap(descriptor, n_bytes)
    except OSError as error:
        path.unlink()
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            errno.ENOSPC,
            f"{n_bytes >> 20} MiB of shared memory are not free: take fewer or "
            f"smaller slots, or enlarge {_DIRECTORY}",
        ) from None
    finally:
        os.close(descriptor)
    # Mapped now: the first frame would pay for it otherwise.
    np.frombuffer(memory, np.uint8)[::_PAGE_BYTES] = 0
    return memory


def _address(buffer: Buffer | mmap.mmap) -> int:
    start, _ = np.frombuffer(buffer, np.uint8).__array_interface__["data"]
    return int(start)
