"""Phantoms to the network inputs that are trained on, on all cores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.errors import DestinationError
from spinert.export.preprocess import network_frame
from spinert.export.reference.frames import SPLIT
from spinert.export.reference.inputs import CLASSES, grey_from_phantom, kept_inputs
from spinert.export.reference.settings import ImageSettings, SplitSettings
from spinert.phantom.truth import Phantom

__all__ = ["PhantomMaker", "render_split", "stated_split"]

_CHUNK: Final = 8
"""Phantoms that a worker renders before it reports."""


class PhantomMaker(Protocol):
    """What makes phantoms: `spinert.phantom.making.phantom_from_seed`."""

    def __call__(
        self, seed: int, index: int, *, long_edge_px: int | None = None
    ) -> Phantom:
        """Return the phantom of a seed and an index."""


@dataclass(frozen=True, kw_only=True)
class _Rendered:
    """What is kept of one phantom, but for the images."""

    index: int
    size: tuple[int, int]
    abnormal: bool
    boxes: list[tuple[float, ...]]
    labels: list[int]


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What a worker needs to know."""

    seed: int
    images: ImageSettings
    folder: Path
    make: PhantomMaker


def _kept(order: _Order, index: int) -> _Rendered:
    """Render one phantom and write its images into the mapped files."""
    edge = order.images.long_edge_px or None
    phantom = order.make(order.seed, index, long_edge_px=edge)
    grey = grey_from_phantom(phantom)
    size = (0, 0)
    for role, stated in kept_inputs(order.images).items():
        frame = network_frame(grey, stated)
        images = np.lib.format.open_memmap(order.folder / f"{role}.npy", mode="r+")
        images[index] = frame.image
        if role == DETECTOR:
            size = (frame.height, frame.width)
    # As the runtime scales boxes back: by the letterbox's own factor, not by the
    # truncated size.
    scale = min(order.images.detector_edge_px / length for length in grey.shape)
    return _Rendered(
        index=index,
        size=size,
        abnormal=bool(phantom.findings),
        boxes=[tuple(c * scale for c in found.box) for found in phantom.findings],
        labels=[CLASSES[found.label] for found in phantom.findings],
    )


def _kept_chunk(order: _Order, indices: Sequence[int]) -> list[_Rendered]:
    return [_kept(order, index) for index in indices]


def stated_split(images: ImageSettings, split: SplitSettings) -> dict[str, Any]:
    """Return what `split.json` says of a split that was rendered so."""
    return {**asdict(images), **asdict(split)}


def _create(folder: Path, images: ImageSettings, count: int) -> None:
    for role, stated in kept_inputs(images).items():
        canvas = stated.canvas
        edge = (canvas.fixed if role == CLASSIFIER else canvas.letterbox).height
        shape = (count, 1, edge, edge)
        path = folder / f"{role}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _write(folder: Path, rendered: Sequence[_Rendered]) -> None:
    boxes = [box for frame in rendered for box in frame.boxes]
    labels = [label for frame in rendered for label in frame.labels]
    owners = [frame.index for frame in rendered for _ in frame.boxes]
    arrays: dict[str, npt.NDArray[Any]] = {
        "sizes": np.array([frame.size for frame in rendered], np.int32),
        "abnormal": np.array([frame.abnormal for frame in rendered], np.bool_),
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "owners": np.array(owners, np.int64),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _chunks(workers: int, order: _Order, count: int) -> Iterable[list[_Rendered]]:
    """Render in this process or, in the order of indices, in others."""
    chunks = [range(at, min(at + _CHUNK, count)) for at in range(0, count, _CHUNK)]
    render = partial(_kept_chunk, order)
    if workers == 1:
        yield from map(render, chunks)
        return
    executor: Executor
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        yield from executor.map(render, chunks)


def render_split(
    folder: Path,
    images: ImageSettings,
    split: SplitSettings,
    make: PhantomMaker,
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda _done: None,
) -> None:
    """Render a split into a folder of its own; an interrupted one leaves nothing.

    Args:
        folder: To create; its name is the split's.
        images: Sizes of what is rendered and kept.
        split: Seed and number of phantoms.
        make: Makes them; a function that other processes can import.
        workers: Processes; 1 renders in this one.
        progress: Told how many phantoms are done.

    Raises:
        DestinationError: The folder exists.
    """
    if folder.exists():
        raise DestinationError(f"{folder}: exists; remove it to render it again")
    partial_folder = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    _create(partial_folder, images, split.count)
    order = _Order(seed=split.seed, images=images, folder=partial_folder, make=make)
    rendered: list[_Rendered] = []
    for chunk in _chunks(workers, order, split.count):
        rendered += chunk
        progress(len(rendered))
    _write(partial_folder, rendered)
    stated = json.dumps(stated_split(images, split), indent=2)
    (partial_folder / SPLIT).write_text(stated + "\n")
    partial_folder.rename(folder)
