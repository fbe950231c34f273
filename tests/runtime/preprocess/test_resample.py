from __future__ import annotations

import hashlib

import numpy as np
import pytest
from support.preprocess_twin import UNCHANGED, resize_u8

from spinert.runtime.preprocess.resample import Target, resize_f32, resized_grey

# SHA-256 of Image.resize(..., BILINEAR) by Pillow 12.3.0. Pillow 13.0.0 gives others
# for (2874, 1021) and (64, 800), where it resizes vertically first.
PILLOW_12 = {
    ((2455, 1606), (1223, 800)): (
        "116ce18d0666deea72b0c96edd6a9940de4d37c358347ab89a79182ab8681d6e"
    ),
    ((2874, 1021), (1333, 474)): (
        "a5d558b8100be63e428766a62ca4c54a8f2716900f9fea7e68c06359850d0400"
    ),
    ((97, 61), (224, 224)): (
        "f89b53328d2a1e510f578b10b7a5214be5e89585af103683bb869633c5983ed5"
    ),
    ((61, 97), (224, 224)): (
        "a02aabc8e112f54e8040c6a0cc3bc4b64667923ce6001634ec728578ae6b5338"
    ),
    ((500, 300), (500, 224)): (
        "639407243c873219921a75a5730df88d7d84e74ed12b8839afe41676b68cb967"
    ),
    ((500, 300), (224, 300)): (
        "a1131e9e56929258f50c201e29d0e3ecc1989b4b5673dd4194e652f264cf1924"
    ),
    ((64, 800), (33, 1333)): (
        "ee11c64f14997ff0d610b540211912254247ebcf4dac226d9e6724c44d96dc99"
    ),
}


def picture(rows: int, columns: int) -> np.ndarray:
    """Return a deterministic image with detail at every scale."""
    y, x = np.mgrid[:rows, :columns].astype(np.int64)
    noise = (x * 2654435761 + y * 40503) % 97
    return ((x * x * 7 + y * y * 3 + x * y * 5 + noise) % 251).astype(np.uint8)


@pytest.mark.parametrize(("size", "target"), PILLOW_12)
def test_resizing_gives_the_pixels_of_pillow_12(size, target):
    height, width = target
    exact = Target(valid_height=height, valid_width=width, height=height, width=width)
    (resized,), _ = resized_grey(picture(*size), UNCHANGED, [exact])
    np.testing.assert_array_equal(resized, resize_u8(picture(*size), *target))
    assert hashlib.sha256(resized.tobytes()).hexdigest() == PILLOW_12[size, target]


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((97, 61), (33, 71)),
        ((97, 61), (97, 61)),
        ((97, 61), (200, 122)),
        ((97, 61), (1, 1)),
        ((97, 61), (96, 300)),
        ((2455, 1606), (1222, 799)),
        ((512, 408), (1003, 800)),
    ],
)
def test_float_resizing_gives_the_values_of_torch(size, target):
    torch = pytest.importorskip("torch")
    values = picture(*size).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None],
        size=target,
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    # Without a fused multiply-add torch rounds positions twice, which this edge-rich
    # picture shows.
    fused = torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}
    tolerance = 1e-4 if fused else 2e-2
    np.testing.assert_allclose(
        resize_f32(values, *target), expected, rtol=0, atol=tolerance
    )
