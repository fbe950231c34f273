"""Annotated pictures of files that were analysed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Frame
from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.errors import SpinertError
from spinert.runtime.frame import DicomFrame, EncodedFrame
from spinert.runtime.preprocess.grey import grey_from_image
from spinert.runtime.report.overlay import overlay

__all__ = ["picture_names", "write_pictures"]

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
        The files without a picture, and why: a server may take what cannot be
        decoded here, for other settings or for lack of a decoder.
    """
    missing: list[tuple[Path, str]] = []
    directory.mkdir(parents=True, exist_ok=True)
    with DecodePool(DecodeSettings(workers=1)) as pool:
        for path, name, result in results:
            data = path.read_bytes()
            content = _content(data)
            try:
                grey = grey_from_image(pool.submit(content).result(), _GREY_RULE)
            except SpinertError as error:
                missing.append((path, f"{error.reason}: {error.message}"))
            else:
                picture = overlay(grey.pixels, result)
                picture.save(directory / name, compress_level=3)
            done()
    return missing


def _content(data: bytes) -> DicomFrame | EncodedFrame:
    if Frame.from_bytes(data).content_field == pb.Frame.DICOM_FIELD_NUMBER:
        return DicomFrame(data=data)
    return EncodedFrame(data=data)
