"""Every decoder of imagecodecs (and Pillow's) for each transfer syntax, alternating.

A radiograph of 12 bits (of 8 for baseline JPEG) is encoded once; every decoder must
give it back exactly, of lossy ones as the runtime's does. The one that the runtime
calls is marked; `JPEG Lossless, 2500 x 2000` is decoding and preprocessing together, as
a frame meets them.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_preprocess import native, radiograph
from decoder_cases import BITS, CASES, COLUMNS, ROWS, Case, Decoder, Words
from harness import Part, elapsed_ms, ratio

from spinert.export.presets import PRESETS
from spinert.runtime.image import Image

OURS = "the runtime"
MOST_ROUNDING, MOST_LOSS = 1, 16
"""Grey levels: between two inverse transforms, and of quality 95 from the film."""


def refuse_other_pixels(name: str, found: Words, film: Words, ours: Words) -> None:
    """Raise where a decoder gives back what it was not given.

    Lossy: as the runtime's, but for the rounding of its transform, and near the film.

    Raises:
        RuntimeError: It is another image.
    """
    if film is ours:
        if not np.array_equal(found, film):
            raise RuntimeError(f"{name} does not give the image back")
        return
    for given, most in ((ours, MOST_ROUNDING), (film, MOST_LOSS)):
        if np.abs(found.astype(np.int32) - given).max() > most:
            raise RuntimeError(f"{name} gives another image back")


def measure_case(case: Case, film: Words, rounds: int) -> dict[str, Any]:
    data = case.encode(film)
    ways: dict[str, Decoder] = {OURS: case.runtime, **case.others}
    ours = case.runtime(data) if case.is_lossy else film
    for name, decode in ways.items():
        refuse_other_pixels(name, decode(data), film, ours)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, decode in ways.items():
            times[name].append(elapsed_ms(lambda d=decode: d(data)))
    return {
        "encoded_mb": round(len(data) / 1e6, 1),
        "ms": {name: round(statistics.median(v), 1) for name, v in times.items()},
        "over_runtime": {
            name: ratio(values, times[OURS]).as_json()
            for name, values in times.items()
            if name != OURS
        },
    }


def measure_frame(film: Image, rounds: int) -> dict[str, Any]:
    """Decode JPEG Lossless and preprocess, one after the other on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    spec = PRESETS["vindr"]()
    case = CASES["JPEG Lossless"]
    data = case.encode(film.pixels)
    decoding, preprocessing = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        words = case.runtime(data)
        decoded = time.perf_counter()
        image = Image(pixels=words, bits_stored=BITS, photometric=film.photometric)
        native(image, spec)
        decoding.append(1e3 * (decoded - started))
        preprocessing.append(1e3 * (time.perf_counter() - decoded))
    both = [a + b for a, b in zip(decoding, preprocessing, strict=True)]
    return {
        "decode_ms": round(statistics.median(decoding), 1),
        "preprocess_ms": round(statistics.median(preprocessing), 1),
        "both_ms": round(statistics.median(both), 1),
        "both_ms_worst": round(max(both), 1),
        "target_ms": 120,
    }


def measure(rounds: int) -> dict[str, Any]:
    film = radiograph(ROWS, COLUMNS, BITS, 1)
    films = {BITS: film.pixels, 8: radiograph(ROWS, COLUMNS, 8, 1).pixels}
    codecs = {
        name: measure_case(case, films[case.bits], rounds)
        for name, case in CASES.items()
    }
    return {"codecs": codecs, "frame": measure_frame(film, 3 * rounds)}


def table(results: dict[str, Any], source: Path) -> str:
    made, found = results["machine"], results["decoders"]
    frame = found["frame"]
    lines = [
        f"{results['date']}, {made['cpu']}, {ROWS} x {COLUMNS}, {BITS} bits in 16, "
        f"imagecodecs {made['packages']['imagecodecs']}; "
        f"all figures in `{source.name}`.",
        "",
        "| syntax | encoded MB | decoder | ms | over what the runtime calls |",
        "|---|---|---|---|---|",
    ]
    for codec, case in found["codecs"].items():
        for name, ms in case["ms"].items():
            over = case["over_runtime"].get(name)
            spread = (
                f"{over['median']:.2f} ({over['min']:.2f}-{over['max']:.2f})"
                if over
                else ""
            )
            lines.append(
                f"| {codec} | {case['encoded_mb']} | {name} | {ms:.0f} | {spread} |"
            )
    lines += [
        "",
        f"JPEG Lossless, {ROWS} x {COLUMNS}, on one core: decode "
        f"{frame['decode_ms']} ms + preprocess {frame['preprocess_ms']} ms = "
        f"**{frame['both_ms']} ms** (worst {frame['both_ms_worst']}), target "
        f"<= {frame['target_ms']} ms.",
    ]
    return "\n".join(lines)


PART = Part(name="decoders", measure=measure, table=table, rounds=7)

if __name__ == "__main__":
    PART.main(__doc__)
