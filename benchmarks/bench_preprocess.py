"""The native preprocessing against NumPy and Pillow, and against copying memory.

Both make the inputs of a classifier (224 x 224) and a detector (800 / 1333) from the
same stored values and compare equal; the twin of the tests is the reference. They
alternate, on one core, over images that together do not fit the caches, as a server
meets them. The machine's copy bandwidth is that of the same images, in the same loop.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import HERE, Part, Ratio, elapsed_ms, ratio

from spinert.export.presets import PRESETS
from spinert.proto import bundle_pb2 as pb
from spinert.runtime import _native
from spinert.runtime.engine.prepare import Prepared, prepared_from_image
from spinert.runtime.image import Image, Photometric, Window
from spinert.runtime.preprocess.contrast import guessed_bounds
from spinert.runtime.preprocess.levels import levels_from_image

sys.path.append(str(HERE.parent / "tests"))
from support import preprocess_twin

SIZES = ((549, 548), (1024, 1024), (2500, 1600), (3000, 2500))
BITS = (8, 12, 16)
BYTES_IN_TURN = 96 << 20
"""Of all images of one kind together: more than the caches of this class hold."""

Inputs = list[npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of each round."""

    native: list[float]
    reference: list[float]
    copy: list[float]

    @property
    def faster(self) -> Ratio:
        return ratio(self.reference, self.native)

    @property
    def of_copy(self) -> Ratio:
        """The bandwidth at which the image is read once, over that of copying it."""
        return ratio(self.copy, self.native)


def radiograph(rows: int, columns: int, bits: int, seed: int) -> Image:
    """Return something as smooth, as noisy and as wide in range as a film."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    spine = np.exp(-(((x - 0.5 + 0.05 * np.sin(4 * y)) / 0.15) ** 2))
    ribs = 0.1 * np.sin(60 * y + 8 * x) * (np.abs(x - 0.5) > 0.15)
    noise = rng.normal(0, 0.01, (rows, columns))
    shares = np.clip(0.15 + 0.55 * spine + ribs + 0.1 * y + noise, 0, 1)
    pixels = (shares * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return Image(
        pixels=pixels,
        bits_stored=bits,
        photometric=Photometric.MONOCHROME1,
        window=Window(center=0.45 * (1 << bits), width=0.8 * (1 << bits)),
    )


def images_in_turn(rows: int, columns: int, bits: int) -> list[Image]:
    first = radiograph(rows, columns, bits, 0)
    count = max(2, BYTES_IN_TURN // first.pixels.nbytes)
    turned = (np.roll(first.pixels, 7 * i, axis=0) for i in range(count))
    return [
        Image(
            pixels=pixels,
            bits_stored=first.bits_stored,
            photometric=first.photometric,
            window=first.window,
        )
        for pixels in turned
    ]


def native(image: Image, spec: pb.Bundle) -> Prepared:
    return prepared_from_image(image, spec, spec.networks)


def reference(image: Image, spec: pb.Bundle, like: Prepared) -> tuple[Any, Inputs]:
    grey = preprocess_twin.grey_twin(image, spec.grey)
    made = [
        preprocess_twin.network_input_twin(grey, tensor.placement, network.input)
        for tensor, network in _pairs(like, spec)
    ]
    return preprocess_twin.notes_twin(grey), made


def _pairs(like: Prepared, spec: pb.Bundle) -> list[tuple[Any, pb.Network]]:
    return [(like.inputs[role], network) for role, network in spec.networks.items()]


def _require_equal(image: Image, spec: pb.Bundle) -> Prepared:
    made = native(image, spec)
    notes, inputs = reference(image, spec, made)
    if not notes <= made.notes or not all(
        np.array_equal(tensor.pixels, expected)
        for (tensor, _), expected in zip(_pairs(made, spec), inputs, strict=True)
    ):
        raise RuntimeError("the native inputs are not those of the reference")
    return made


def alternating(images: Sequence[Image], spec: pb.Bundle, rounds: int) -> Times:
    like = _require_equal(images[0], spec)
    turn = itertools.cycle(images)
    into = np.empty_like(images[0].pixels)
    times = Times(native=[], reference=[], copy=[])
    for _ in range(rounds + 1):
        # Several of the fast ones, so that one hiccup does not decide a round.
        several = range(5)
        times.native.append(
            statistics.median(
                elapsed_ms(lambda: native(next(turn), spec)) for _ in several
            )
        )
        times.copy.append(
            statistics.median(
                elapsed_ms(lambda: np.copyto(into, next(turn).pixels)) for _ in several
            )
        )
        times.reference.append(elapsed_ms(lambda: reference(next(turn), spec, like)))
    for values in (times.native, times.reference, times.copy):
        del values[0]
    return times


def parts_ms(images: Sequence[Image], spec: pb.Bundle, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each step of the native way, taken alone."""
    turn = itertools.cycle(images)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        image = next(turn)
        pixels = image.pixels
        steps = found.setdefault
        steps("value range", []).append(
            elapsed_ms(lambda p=pixels: _native.value_range(p))
        )
        image = next(turn)
        pixels = image.pixels
        levels = levels_from_image(image, spec.grey)
        tiny = Image(
            pixels=np.array([[pixels.min(), pixels.max()]], pixels.dtype),
            bits_stored=image.bits_stored,
            photometric=image.photometric,
            window=image.window,
        )
        steps("lookup table (float64)", []).append(
            elapsed_ms(lambda i=tiny: levels_from_image(i, spec.grey))
        )
        steps("guessed bounds", []).append(
            elapsed_ms(lambda p=pixels, v=levels: guessed_bounds(p, v))
        )
        pixels = next(turn).pixels
        steps("look-up and counting", []).append(
            elapsed_ms(
                lambda p=pixels, v=levels: _native.make_inputs(
                    p, first=v.first, table=v.table, bounds=(30, 220), out=[], sizes=[]
                )
            )
        )
        image = next(turn)
        steps("all", []).append(elapsed_ms(lambda i=image: native(i, spec)))
    medians = {name: statistics.median(values) for name, values in found.items()}
    medians["resizing"] = medians["all"] - sum(
        value for name, value in medians.items() if name != "all"
    )
    return {name: round(value, 3) for name, value in medians.items()}


def measure(rounds: int = 9) -> dict[str, Any]:
    """Measure every size and depth on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    spec = PRESETS["vindr"]()
    found = []
    for (rows, columns), bits in itertools.product(SIZES, BITS):
        images = images_in_turn(rows, columns, bits)
        times = alternating(images, spec, rounds)
        found.append(
            {
                "rows": rows,
                "columns": columns,
                "bits": bits,
                "native_ms": round(statistics.median(times.native), 2),
                "reference_ms": round(statistics.median(times.reference), 2),
                "copy_gb_per_s": round(
                    images[0].pixels.nbytes / statistics.median(times.copy) / 1e6, 1
                ),
                "reference_over_native": times.faster.as_json(),
                "share_of_copy_bandwidth": times.of_copy.as_json(),
                "parts_ms": parts_ms(images, spec, rounds),
            }
        )
    return {"kernels": _native.kernels(), "cases": found}


def table(results: dict[str, Any], source: Path) -> str:
    made, found = results["machine"], results["preprocess"]
    lines = [
        f"{results['date']}, {made['cpu']}, one core, kernels {found['kernels']}, "
        f"Pillow {made['packages']['pillow']}, NumPy {made['packages']['numpy']}; "
        f"all figures in `{source.name}`.",
        "",
        "| image | bits | native ms | reference ms | times faster | of copy bandwidth, "
        "image read once | range / table / look-up / resizing ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in found["cases"]:
        faster, share = case["reference_over_native"], case["share_of_copy_bandwidth"]
        parts = case["parts_ms"]
        names = ("value range", "lookup table (float64)", "look-up and counting")
        steps = " / ".join(f"{parts[name]:.2f}" for name in (*names, "resizing"))
        lines.append(
            f"| {case['rows']} x {case['columns']} | {case['bits']} "
            f"| {case['native_ms']:.2f} | {case['reference_ms']:.1f} "
            f"| {faster['median']:.1f} ({faster['min']:.1f}-{faster['max']:.1f}) "
            f"| {share['median']:.0%} of {case['copy_gb_per_s']:.1f} GB/s | {steps} |"
        )
    return "\n".join(lines)


PART = Part(name="preprocess", measure=measure, table=table, rounds=9)

if __name__ == "__main__":
    PART.main(__doc__)
