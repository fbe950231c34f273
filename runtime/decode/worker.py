"""A decode worker: a confined process that turns hostile bytes into images.

Started as `python -m spinert.runtime.decode.worker SOCKET SETTINGS PARENT`. It
holds one socket and one frame at a time, may use a bounded address space, leaves
no core dump, writes nothing to the terminal and ends when its parent does.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode import wire
from spinert.runtime.errors import FrameRefused, FrameTooCostly, Reason
from spinert.runtime.frame import Buffer
from spinert.runtime.image import Image
from spinert.runtime.parent import end_with_parent

__all__ = ["main"]

Decoder = Callable[[Buffer, DecodeSettings], Image]


def main(arguments: list[str]) -> None:
    """Serve decode requests until the parent closes the socket."""
    connection = socket.socket(fileno=int(arguments[0]))
    settings = wire.settings_from_json(arguments[1])
    _confine(settings, int(arguments[2]))
    try:
        decoders = _decoders()
    except ImportError as error:
        _send(connection, {"missing": (error.name or "")[:100]})
        return
    _send(connection, {"ready": True})
    while True:
        message, fds, _, _ = socket.recv_fds(connection, wire.MAX_MESSAGE_BYTES, 1)
        if not message:
            return
        request = json.loads(message)
        _answer(connection, fds[0], decoders[request["kind"]], settings)


def _confine(settings: DecodeSettings, parent: int) -> None:
    # The parent drains before it ends: signals meant for the service as a whole
    # (Ctrl-C, a service manager's SIGTERM to the group) must not end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(parent, signal.SIGKILL)
    limit = settings.memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _decoders() -> dict[str, Decoder]:
    """Import the libraries that parse; only now, so that a failure can be told."""
    from spinert.runtime.decode.dicom import image_from_dicom
    from spinert.runtime.decode.encoded import image_from_encoded

    return {"dicom": image_from_dicom, "encoded": image_from_encoded}


def _answer(
    connection: socket.socket, payload: int, decode: Decoder, settings: DecodeSettings
) -> None:
    try:
        # Unmapped when the last array that views it is gone.
        content = mmap.mmap(payload, 0, prot=mmap.PROT_READ)
        image = decode(memoryview(content), settings)
        message, arrays = _message(image, content)
        bulk = _sealed_memory(arrays)
    except FrameRefused as error:
        _send(connection, wire.message_from_refusal(error))
    except (MemoryError, OSError):
        refusal = FrameTooCostly(
            Reason.DECODE_MEMORY,
            "decoding this file takes more memory than one frame may use "
            "(decode.memory_mib)",
        )
        _send(connection, wire.message_from_refusal(refusal))
    else:
        _send(connection, message, bulk)
        os.close(bulk)
    finally:
        os.close(payload)


def _message(
    image: Image, content: mmap.mmap
) -> tuple[dict[str, Any], list[npt.NDArray[Any]]]:
    """Describe `image`; pixels that lie in the request are not sent back."""
    message, arrays = wire.message_from_image(image), wire.arrays_from_image(image)
    offset = _address(image.pixels) - _address(np.frombuffer(content, np.uint8))
    if 0 <= offset < len(content):
        message["pixels_at"] = offset
        arrays.pop()
    return message, arrays


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _sealed_memory(arrays: list[npt.NDArray[Any]]) -> int:
    """Copy `arrays` into memory that nobody can change or shrink any more.

    Shrinking it later would kill the parent with SIGBUS.
    """
    memory = os.memfd_create("spinert-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for array in arrays:
            rest = np.ascontiguousarray(array).data.cast("B")
            while rest:
                rest = rest[os.write(memory, rest) :]
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, wire.SEALS)
    except BaseException:
        os.close(memory)
        raise
    return memory


def _send(
    connection: socket.socket, message: dict[str, Any], *descriptors: int
) -> None:
    socket.send_fds(connection, [json.dumps(message).encode()], descriptors)


if __name__ == "__main__":
    main(sys.argv[1:])
