"""A data set of phantoms on disk, laid out as VinDr-SpineXR.

DIRECTORY/SPLIT_images/IMAGE_ID.dicom   the images
DIRECTORY/annotations/SPLIT.csv         boxes of findings
DIRECTORY/annotations/vertebrae.csv     boxes of vertebrae, of all splits
DIRECTORY/phantom.json                  what each split was made from

The tables of a split are written when all of its images are there. Until then a
journal beside them holds the truth of those that are, so that the same command goes
on where it was broken off.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from spinert.phantom.dicom import PhantomKey, dicom_from_phantom, sop_instance_uid
from spinert.phantom.errors import DestinationError, PhantomError
from spinert.phantom.files import write_atomically
from spinert.phantom.making import phantom_from_seed
from spinert.phantom.split_folder import SplitFolder, SplitRecord
from spinert.phantom.table import ImageTruth, truth_from_phantom
from spinert.phantom.truth import Phantom

__all__ = ["Draw", "PhantomOrder", "draw_phantom", "write_phantoms"]

Draw = Callable[[PhantomKey], Phantom]
"""Makes the image of a key; must survive pickling."""


@dataclass(frozen=True, kw_only=True)
class PhantomOrder:
    """What to write, and where."""

    directory: Path
    split: str
    """Names the folder and the table: "train", "test" ..."""
    count: int
    """Phantoms 0 to count - 1 of the seed."""
    seed: int
    long_edge_px: int | None = None
    compression: str | None = None
    jobs: int = 1
    """Processes."""

    def image_keys(self) -> Iterator[PhantomKey]:
        """Yield the key of every image, in order."""
        for index in range(self.count):
            yield PhantomKey(
                seed=self.seed, index=index, long_edge_px=self.long_edge_px
            )


def draw_phantom(key: PhantomKey) -> Phantom:
    """Make the image of `key`."""
    return phantom_from_seed(
        key.seed, key.index, abnormal=key.abnormal, long_edge_px=key.long_edge_px
    )


def write_phantoms(
    order: PhantomOrder, done: Callable[[], None], draw: Draw = draw_phantom
) -> tuple[ImageTruth, ...]:
    """Write a split and return its truth in order of the index.

    Every file is there whole or not at all. After an exception the same order goes on
    where it ended.

    Args:
        order: What to write.
        done: Called once for every image, also for one that was there.
        draw: Makes the images.

    Raises:
        DestinationError: The directory holds something else, this split, or an
            unfinished one of another order, or cannot be written.
        CompressionError: The encoder is missing or not known.
    """
    record = SplitRecord(
        seed=order.seed,
        count=order.count,
        long_edge_px=order.long_edge_px,
        compression=order.compression,
    )
    try:
        with SplitFolder(order.directory, order.split).claimed(record) as folder:
            truths = {truth.index: truth for truth in folder.journalled()}
            for _ in truths:
                done()
            missing = [key for key in order.image_keys() if key.index not in truths]
            for truth in _written(order, missing, folder.images, draw):
                folder.note(truth)
                truths[truth.index] = truth
                done()
            ordered = tuple(truths[index] for index in sorted(truths))
            folder.finish(record, ordered)
    except OSError as error:
        why = error.strerror or "no reason given"
        raise DestinationError(
            f"{order.directory} cannot be written: {why}; make room and run the same "
            "command again, or name another directory"
        ) from error
    return ordered


def _written(
    order: PhantomOrder, keys: list[PhantomKey], images: Path, draw: Draw
) -> Iterator[ImageTruth]:
    """Write the images of `keys`, as many at a time as there are jobs."""
    if order.jobs == 1 or len(keys) <= 1:
        for key in keys:
            yield _write_one(key, images, order.compression, draw)
        return
    # Not forked: threads of numpy's libraries would not survive it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(order.jobs, len(keys)), mp_context=context, initializer=_leave_signals
    )
    try:
        futures = [
            pool.submit(_write_one, key, images, order.compression, draw)
            for key in keys
        ]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise PhantomError(
            "a process that draws was ended from outside, perhaps for want of memory: "
            "run the same command again to go on, with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_signals() -> None:
    """Let Ctrl-C end the parent alone, which ends its processes in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The processes are the parallelism.
    os.environ["OMP_NUM_THREADS"] = "1"


def _write_one(
    key: PhantomKey, images: Path, compression: str | None, draw: Draw
) -> ImageTruth:
    phantom = draw(key)
    content = dicom_from_phantom(phantom, key, compression=compression)
    write_atomically(images / f"{sop_instance_uid(key)}.dicom", content)
    return truth_from_phantom(phantom, key)
