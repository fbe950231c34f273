"""Phantoms that cost nothing: a ramp of a brightness that the index decides."""

from __future__ import annotations

import numpy as np

from spinert.phantom.dicom import PhantomKey
from spinert.phantom.truth import (
    Phantom,
    Projection,
    Region,
    TrueFinding,
    Vertebra,
    Window,
)

REGIONS = tuple(Region)
PROJECTIONS = tuple(Projection)


def ramp_phantom(key: PhantomKey, *, shift: int = 0) -> Phantom:
    """Return 12 bits, dark for index 0, brighter for each index to 9, then again.

    Odd indices have one finding, so 0, 2, 4 ... are normal. `shift` is added to all
    stored values, as if another machine had rounded otherwise.
    """
    edge_px = key.long_edge_px or 160
    rows, columns = edge_px, edge_px * 4 // 5
    random = np.random.default_rng([key.seed, key.index])
    noise = random.integers(0, 80, (rows, columns))
    top = 800 + 320 * (key.index % 10)
    ramp = np.linspace(0, 200, columns)[None, :]
    # The corners hold the range, so that brightness survives min-max.
    pixels = (top + ramp + noise + shift).astype(np.uint16)
    pixels[0, 0], pixels[-1, -1] = 0, 4095
    finding = TrueFinding(label="Osteophytes", box=(10.25, 20.0, 40.5, 60.0))
    return Phantom(
        pixels=pixels,
        bits_stored=12,
        photometric="MONOCHROME2",
        pixel_spacing_mm=0.2,
        window=Window(center=2048.0, width=4096.0),
        projection=PROJECTIONS[key.index % 2],
        region=REGIONS[key.index % 3],
        findings=(finding,) if key.index % 2 else (),
        vertebrae=(Vertebra(level="L4", box=(5.0, 5.0, 50.0, 40.0)),),
    )
