"""One decode worker as seen from its parent."""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode import wire
from spinert.runtime.errors import (
    FrameTooCostly,
    MalformedFrame,
    Reason,
    SetupError,
    Unavailable,
)
from spinert.runtime.frame import Buffer, DicomFrame, EncodedFrame, bytes_of
from spinert.runtime.image import Image

__all__ = ["DecodeProcess", "WorkerLost"]

_START_S = 30.0
"""Importing the decoders takes half a second; a busy machine much longer."""
_ONE_THREAD = {
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Threads of libraries reserve address space that RLIMIT_AS would count."""


_SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
)
"""What this process lacks, not what a worker did."""


class WorkerLost(Exception):
    """The worker had ended before it read the frame: another may decode it."""


class DecodeProcess:
    """A worker process. Owned by the thread that starts it: it dies with it.

    Not thread-safe. Whoever constructs it calls `close`.
    """

    def __init__(self, settings: DecodeSettings) -> None:
        """Start the process; `wait_ready` tells when it can decode.

        Raises:
            OSError: The system starts no more processes.
        """
        self._settings = settings
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = _started(theirs.fileno(), settings)
            except OSError:
                self._socket.close()
                raise

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked to decode."""
        return self._socket.fileno() >= 0

    def wait_ready(self) -> None:
        """Wait until the worker has loaded its decoders.

        Raises:
            SetupError: It cannot start; it is closed.
        """
        self._socket.settimeout(_START_S)
        try:
            hello = json.loads(self._socket.recv(wire.MAX_MESSAGE_BYTES) or b"{}")
        except OSError:
            hello = {}
        if hello.get("ready"):
            return
        self.close()
        missing = hello.get("missing")
        raise SetupError(
            Reason.CONFIG_INVALID,
            f"decode workers cannot start: the package {missing} is not installed; "
            "pip install 'spinert[serve]'"
            if missing
            else "decode workers cannot start; give them more memory "
            "(decode.memory_mib) or fewer of them (decode.workers)",
        )

    def decode(self, content: DicomFrame | EncodedFrame) -> Image:
        """Decode one frame.

        The image may share `content.data`.

        Raises:
            FrameRefused: The frame's own fault, or DECODE_TIMEOUT or DECODER_CRASHED,
                after which the process is closed.
            Unavailable: This process is short of memory or open files.
            WorkerLost: The worker ended before; the process is closed.
        """
        data = bytes_of(content.data)
        if not data:
            raise MalformedFrame(Reason.EMPTY_FRAME, "the frame has no bytes")
        is_dicom = isinstance(content, DicomFrame)
        timeout_s = self._settings.timeout_s
        deadline_s = time.monotonic() + timeout_s
        try:
            self._request("dicom" if is_dicom else "encoded", data)
            self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            reply, fds, flags, _ = socket.recv_fds(
                self._socket, wire.MAX_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC
            )
        except TimeoutError:
            self.close()
            raise FrameTooCostly(
                Reason.DECODE_TIMEOUT,
                f"decoding took longer than {timeout_s:g} s (decode.timeout_s)",
            ) from None
        except OSError as error:
            if error.errno in _SHORTAGES:
                raise _short() from None
            # A worker that ends after it has read the frame closes in order.
            self.close()
            raise WorkerLost from None
        if flags & socket.MSG_CTRUNC and not fds:
            raise _short()  # there was no room for the descriptor of the image
        return self._image(reply, fds, data)

    def close(self) -> None:
        """End the process at once; calling twice is harmless."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _request(self, kind: str, data: Buffer) -> None:
        memory = os.memfd_create("spinert-frame", os.MFD_CLOEXEC)
        try:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[os.write(memory, rest) :]
            request = json.dumps({"kind": kind}).encode()
            socket.send_fds(self._socket, [request], [memory])
        finally:
            os.close(memory)

    def _image(self, reply: bytes, fds: list[int], data: Buffer) -> Image:
        try:
            message: dict[str, Any] = json.loads(reply)
            if "refused" not in message:
                bulk = _Bulk(fds[0], data, message.get("pixels_at"))
                return wire.image_from_message(message, bulk.take, self._settings)
            refusal = wire.refusal_from_message(message)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _SHORTAGES:
                raise _short() from None
            # Gone, or no longer itself: either way it must not decode again.
            self.close()
            raise FrameTooCostly(
                Reason.DECODER_CRASHED,
                "the decoder ended while it read this file; export the file again or "
                "send it uncompressed",
            ) from None
        finally:
            for descriptor in fds:
                os.close(descriptor)
        raise refusal


def _short() -> Unavailable:
    return Unavailable(
        Reason.NOT_READY, "the server is short of memory or open files; retry later"
    )


def _started(socket_fd: int, settings: DecodeSettings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "spinert.runtime.decode.worker"]
    arguments = [str(socket_fd), wire.settings_to_json(settings), str(os.getpid())]
    return subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        # Libraries may print what they read; nobody shall.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(socket_fd,),
        env=os.environ | _ONE_THREAD,
    )


class _Bulk:
    """Reads the arrays of one reply, in order, without copying them."""

    def __init__(self, descriptor: int, request: Buffer, pixels_at: int | None) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & wire.SEALS != wire.SEALS:
            raise ValueError("the memory could still be changed")
        self._memory: Buffer = b""
        if size := os.fstat(descriptor).st_size:
            # Private: kernels before 6.7 do not share write-sealed memory.
            self._memory = memoryview(
                mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ)
            )
        self._at = 0
        self._request = request
        self._pixels_at = pixels_at

    def take(self, dtype: np.dtype[Any], n_items: int, *, is_pixels: bool) -> Any:
        if is_pixels and self._pixels_at is not None:
            array = np.frombuffer(self._request, dtype, n_items, self._pixels_at)
            return array if array.flags.aligned else array.copy()
        array = np.frombuffer(self._memory, dtype, n_items, self._at)
        self._at += array.nbytes
        return array
