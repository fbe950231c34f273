"""The compiled kernels of runtime/native/cuda/preprocess.cu, and how to launch them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spinert.runtime import _native
from spinert.runtime.device import Device, Kernel, Module, Stream
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason

__all__ = ["Axis", "Canvas", "Kernels", "StoredPixels", "fatbin", "loaded_kernels"]

_FILE: Final = "preprocess.fatbin"
_LINE: Final = 256
"""Threads of a block along one axis."""
_TILE: Final = (32, 8)
"""Threads of a block, (x, y): a warp reads neighbours of one row."""
_RUN: Final = 16
"""Pixels that one thread counts; kRun of preprocess.cu."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPixels:
    """A frame as it was stored, on the device."""

    address: int
    """Of [rows, columns]."""
    rows: int
    columns: int
    itemsize: int
    """Bytes of a pixel, 1 or 2."""
    table: int
    """Address of the grey of every pattern, uint8 [256 ** itemsize]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """The weights of one axis on the device; see `weights.Weights`."""

    starts: int
    """Address of int32 [results]."""
    values: int
    """Address of int32 [taps, results]."""
    taps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """Where a network's input of one frame goes: the image top left, 0 around it."""

    address: int
    """Of uint8 [height, width]."""
    valid_height: int
    valid_width: int
    height: int
    width: int


class Kernels:
    """Launches on what lies on the device; sizes and addresses are not checked."""

    def __init__(self, module: Module) -> None:
        """Own `module`, which has the kernels.

        Raises:
            BackendError: It does not.
        """
        self._module = module
        self._clear = module.kernel("spinert_clear", "Pi")
        # By the bytes of a pixel.
        self._count: dict[int, Kernel] = {
            1: module.kernel("spinert_count_u8", "PqP"),
            2: module.kernel("spinert_count_u16", "PqP"),
        }
        self._horizontal: dict[int, Kernel] = {
            1: module.kernel("spinert_horizontal_u8", "PiiPPPiiP"),
            2: module.kernel("spinert_horizontal_u16", "PiiPPPiiP"),
        }
        self._vertical = module.kernel("spinert_vertical", "PiiPPiiiP")

    def count(self, stored: StoredPixels, counts: int, stream: Stream) -> None:
        """Enqueue: how often each pattern occurs, into uint32 [256 ** itemsize]."""
        length = 256**stored.itemsize
        grid = _blocks(length, _LINE), 1
        self._clear.launch(grid, (_LINE, 1), (counts, length), stream)
        pixels = stored.rows * stored.columns
        grid = _blocks(pixels, _LINE * _RUN), 1
        arguments = stored.address, pixels, counts
        self._count[stored.itemsize].launch(grid, (_LINE, 1), arguments, stream)

    def resize(
        self,
        stored: StoredPixels,
        canvas: Canvas,
        across: Axis,
        down: Axis,
        scratch: int,
        stream: Stream,
    ) -> None:
        """Enqueue: table, then along the rows into `scratch`, then onto the canvas.

        Args:
            stored: The frame, with its table.
            canvas: Where it goes.
            across: Of `stored.columns` sources and `canvas.valid_width` results.
            down: Of `stored.rows` sources and `canvas.valid_height` results.
            scratch: Address of `stored.rows` * `canvas.valid_width` bytes.
            stream: Where; work before it may use `scratch`.
        """
        width = canvas.valid_width
        self._horizontal[stored.itemsize].launch(
            (_blocks(width, _TILE[0]), _blocks(stored.rows, _TILE[1])),
            _TILE,
            (
                *(stored.address, stored.rows, stored.columns, stored.table),
                *(across.starts, across.values, across.taps, width, scratch),
            ),
            stream,
        )
        self._vertical.launch(
            (_blocks(canvas.width, _TILE[0]), _blocks(canvas.height, _TILE[1])),
            _TILE,
            (
                *(scratch, canvas.valid_height, width),
                *(down.starts, down.values, down.taps),
                *(canvas.height, canvas.width, canvas.address),
            ),
            stream,
        )

    def free(self) -> None:
        """Unload them; none may be running. Use nothing of this afterwards."""
        del self._clear, self._vertical
        self._count.clear()
        self._horizontal.clear()
        self._module.free()


def fatbin() -> Path:
    """Return the file of the kernels; it exists only where they were compiled."""
    return Path(str(_native.__file__)).with_name(_FILE)


def loaded_kernels(device: Device) -> Kernels:
    """Load the kernels onto `device`, which is current in this thread.

    Raises:
        BackendUnavailable: They were not compiled, or not for this GPU.
    """
    try:
        content = fatbin().read_bytes()
    except OSError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            "this build has no CUDA kernels for backend.device_preprocessing: install "
            "spinert where nvcc is, or set it to false",
        ) from error
    try:
        module = device.module(content)
        try:
            return Kernels(module)
        except BackendError:
            module.free()
            raise
    except BackendError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{device.gpu.name} (sm_{device.gpu.sm}) cannot run the CUDA kernels of "
            f"this build: {error.message}; or set backend.device_preprocessing to "
            "false",
        ) from error


def _blocks(size: int, per_block: int) -> int:
    return -(-size // per_block)
