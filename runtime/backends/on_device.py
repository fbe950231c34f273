"""What a backend offers that makes network inputs on its device, and the values of it.

A frame's stored values are uploaded once, when it is prepared; the inputs of all its
networks are made from them, each when its batch runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from spinert.runtime.backends import Arrays
from spinert.runtime.image import Stored
from spinert.runtime.preprocess.canvas import Placement

__all__ = ["CountedImage", "DeviceImage", "PlacedImage", "PreparingBackend"]


class DeviceImage(Protocol):
    """A frame on a device: stored values, and the grey of each."""

    @property
    def rows(self) -> int:
        """Of the frame."""
        ...

    @property
    def columns(self) -> int:
        """Of the frame."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """Keep its memory within the block, at whose end the device is done with it.

        Raises:
            BackendError: The image was released before.
        """
        ...

    def release(self) -> None:
        """Give its memory to other frames, once no batch runs with it any more.

        Calling twice is harmless; any thread may.
        """
        ...


class CountedImage(Protocol):
    """A frame on a device that has no grey levels yet."""

    @property
    def first(self) -> int:
        """The smallest stored value that occurs."""
        ...

    @property
    def counts(self) -> npt.NDArray[np.uint32]:
        """How often each value occurs, from `first` to the largest that does."""
        ...

    def mapped(self, table: npt.NDArray[np.uint8]) -> DeviceImage:
        """Give each value its grey; the image belongs to the caller, to be released.

        Args:
            table: As long as `counts`.

        Raises:
            BackendError: The device failed.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedImage:
    """One frame as one network wants it, to be made on the device."""

    image: DeviceImage
    placement: Placement

    @property
    def size(self) -> tuple[int, int]:
        """Padded (height, width): frames of equal size share a batch."""
        return self.placement.height, self.placement.width


@runtime_checkable
class PreparingBackend(Protocol):
    """What a backend offers besides `Backend` if `capabilities.prepares_on_device`."""

    def uploading(self, pixels: Stored) -> AbstractContextManager[CountedImage]:
        """Upload a frame and count its values; use it within the block only.

        Waits while the frames on the device take all memory that they may.

        Raises:
            BackendError: The device failed, or has no memory left.
        """
        ...

    def run_images(
        self, role: str, images: Sequence[PlacedImage], others: Arrays
    ) -> Arrays:
        """Run one batch through network `role`; see `Backend.run`.

        Args:
            role: A role that was loaded.
            images: Frames of this backend, all of one padded size: input `image`.
            others: The other inputs.

        Raises:
            BackendError: The network failed, or an image was released.
        """
        ...

    def input_of(self, role: str, images: Sequence[PlacedImage]) -> npt.NDArray[Any]:
        """Return what `run_images` gives the network as `image`, uint8 (N,1,H,W).

        Raises:
            BackendError: As `run_images`.
        """
        ...
