"""What tests of the decode pool share."""

from __future__ import annotations

import time
from contextlib import suppress

import imagecodecs
import numpy as np
import psutil

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.frame import DicomFrame
from support import dicoms

LONG_S = 30.0
PLAIN = DicomFrame(data=dicoms.radiograph(dicoms.phantom(), bits=12))


def one_worker(**changes) -> DecodeSettings:
    return DecodeSettings(**{"workers": 1, **changes})


def wait_until(holds) -> None:
    """Wait for a condition that another process or thread brings about."""
    limit = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.01)


def _workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # or a zombie
            if "spinert.runtime.decode.worker" in child.cmdline():
                found.append(child)
    return found


def workers_of(pool: DecodePool) -> list[psutil.Process]:
    """Return the workers of `pool`, which must be the youngest pool."""
    n_workers = len(pool._threads)
    return sorted(_workers(), key=lambda w: w.create_time())[-n_workers:]


def j2k(pixels: np.ndarray, **options) -> bytes:
    """Return `pixels` as a reversible JPEG 2000 codestream."""
    asked = {"codecformat": "j2k", "reversible": True, "level": 0, **options}
    return imagecodecs.jpeg2k_encode(pixels, **asked)


def slow_frame() -> DicomFrame:
    """Return a frame whose decoding takes about a second."""
    pixels = dicoms.phantom(2000, 2000, bits=16)
    stream = j2k(pixels)
    return DicomFrame(
        data=dicoms.radiograph(
            pixels, syntax=dicoms.JPEG_2000, stream=dicoms.fragments(stream)
        )
    )


def lut_item(entries: list[int]) -> bytes:
    """Return a lookup table of 12 bits that starts at 7."""
    descriptor = dicoms.element(0x00283002, "US", [len(entries), 7, 12])
    return dicoms.item(descriptor + dicoms.element(0x00283006, "US", entries))


def seeds() -> list[bytes]:
    """Return one small file per transfer syntax, to be mutated."""
    pixels = dicoms.phantom()
    changes = {
        0x00283010: ("SQ", lut_item([5, 900, 17, 4095])),
        0x00281050: ("DS", "40\\450"),
        0x00281051: ("DS", "350\\1500"),
    }
    streams = {
        dicoms.JPEG_2000: j2k(pixels),
        dicoms.JPEG_LS: imagecodecs.jpegls_encode(pixels),
        dicoms.JPEG_LOSSLESS: imagecodecs.ljpeg_encode(pixels),
        dicoms.HTJ2K: imagecodecs.htj2k_encode(pixels),
        dicoms.JPEG_BASELINE: imagecodecs.jpeg8_encode(pixels.astype(np.uint8)),
    }
    compressed = [
        dicoms.radiograph(
            pixels, syntax=s, bits=12, stream=dicoms.fragments(d), changes=changes
        )
        for s, d in streams.items()
    ]
    native = (dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG_ENDIAN, dicoms.DEFLATED)
    return compressed + [
        dicoms.radiograph(pixels, syntax=s, bits=12, changes=changes) for s in native
    ]
