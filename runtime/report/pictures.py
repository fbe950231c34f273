"""Annotated pictures of files that were analysed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture

from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Frame
from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.errors import ConfigError, Reason, SetupError, SpinertError
from spinert.runtime.frame import DicomFrame, EncodedFrame
from spinert.runtime.preprocess.grey import grey_from_image
from spinert.runtime.report.overlay import overlay

__all__ = [
    "content_from_bytes",
    "picture_names",
    "viewed_grey",
    "viewing_pool",
    "write_pictures",
]

# What to show was a server's decision, under settings that are not known here.
_MODALITIES = ("CR", "DG", "DX", "IO", "MG", "OT", "PX", "RF", "RG", "XA")
_WIDE = DecodeSettings(
    accept_modalities=_MODALITIES,
    workers=1,
    timeout_s=60.0,
    memory_mib=4096,
    min_edge_px=1,
    max_edge_px=65535,
    max_pixel_mib=1024,
    max_elements=200_000,
    max_nesting=100,
    max_tint=255.0,
)
# For looking at, the VOI the sender chose; a constant image is shown black.
_GREY_RULE = bundle_pb2.GreyRule(
    voi=bundle_pb2.VOI_LUT_THEN_WINDOW,
    invert_monochrome1=True,
    constant_image=bundle_pb2.CONSTANT_IMAGE_ZERO,
)


def picture_names(paths: Sequence[Path]) -> list[str]:
    """Return a distinct file name for the picture of each path."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = f"{path.stem}.png", 2
        while name in taken:
            name, number = f"{path.stem}-{number}.png", number + 1
        taken.add(name)
        names.append(name)
    return names


def write_pictures(
    results: Iterable[tuple[Path, str, pb.Result]],
    directory: Path,
    done: Callable[[], None],
) -> list[tuple[Path, str]]:
    """Write one PNG for each (file, picture name, result) into `directory`.

    Files are decoded once more, in a limited process like the server's.

    Returns:
        The files without a picture, and why.

    Raises:
        SetupError: Nothing can be decoded here.
        ConfigError: The directory cannot be written.
    """
    missing: list[tuple[Path, str]] = []
    with viewing_pool() as pool:
        for path, name, result in results:
            try:
                grey = viewed_grey(pool, path)
            except SpinertError as error:
                missing.append((path, f"{error.reason}: {error.message}"))
            except OSError as error:
                missing.append((path, error.strerror or "the file cannot be read"))
            else:
                _save(overlay(grey, result), directory / name)
            done()
    return missing


@contextmanager
def viewing_pool() -> Iterator[DecodePool]:
    """Yield a pool that decodes whatever may be looked at, ready to work.

    Raises:
        SetupError: Nothing can be decoded here.
    """
    with DecodePool(_WIDE) as pool:
        _wait_ready(pool)
        yield pool


def viewed_grey(pool: DecodePool, path: Path) -> npt.NDArray[np.uint8]:
    """Return the image as it is looked at, uint8 (rows, columns).

    Raises:
        SpinertError: It cannot be decoded.
        OSError: It cannot be read.
    """
    image = pool.submit(content_from_bytes(path.read_bytes())).result()
    return grey_from_image(image, _GREY_RULE).pixels


def _wait_ready(pool: DecodePool) -> None:
    try:
        pool.wait_ready()
    except SetupError as error:
        raise SetupError(
            error.reason,
            f"no pictures were drawn: {error.message}. A client that draws needs the "
            "decoders of a server: pip install 'spinert[cpu]'",
        ) from None


def _save(picture: Picture.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, compress_level=3)
    except OSError as error:
        raise ConfigError(
            Reason.CONFIG_INVALID, f"cannot write {path}: {error.strerror}"
        ) from None


def content_from_bytes(data: bytes) -> DicomFrame | EncodedFrame:
    """Take the bytes of a file for what a client would send them as."""
    if Frame.from_bytes(data).content_field == pb.Frame.DICOM_FIELD_NUMBER:
        return DicomFrame(data=data)
    return EncodedFrame(data=data)
