"""What the sides of the GPU benchmark are given, how they are judged and timed."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpu_frames import GoldenFrames, verdict_gaps
from gpu_sides import worst_difference
from harness import ratio

from spinert.runtime.backends import Arrays
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.gate.golden_set import GoldenCase

LARGEST_DIFFERENCE = {"logits": 0.25, "scores": 0.05, "abnormal_probability": 0.05}
"""A side that is further from the FP32 answers is not running these networks."""
WARM_UP_RUNS = 6
ROUND_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every side is given at once, and how its answers are judged."""

    size: int
    given: Any
    """A Batch, or images."""
    gaps: Callable[[Any], dict[str, float]]
    """Answers to how far they are from those in FP32."""


def network_work(
    cases: Mapping[str, list[GoldenCase]], bundle: LoadedBundle, roles: str, size: int
) -> Work:
    """Return `size` golden frames as inputs of `roles`."""
    batch, expected = {}, {}
    for role in roles.split("+"):
        first = cases[role][0].tensor.size
        same = [case for case in cases[role] if case.tensor.size == first]
        chosen = list(itertools.islice(itertools.cycle(same), size))
        stated = bundle.spec.networks[role].input
        batch[role] = batch_inputs(stated, [case.tensor for case in chosen])
        expected[role] = [case.reference for case in chosen]

    def gaps(answers: Mapping[str, Arrays]) -> dict[str, float]:
        return {
            f"{role}.{output}": round(gap, 6)
            for role in expected
            for output, gap in worst_difference(expected[role], answers[role]).items()
        }

    return Work(size=size, given=batch, gaps=gaps)


def frame_work(golden: GoldenFrames, size: int) -> Work:
    """Return `size` golden frames as they are."""
    chosen = [index % len(golden.images) for index in range(size)]
    expected = [golden.verdicts[index] for index in chosen]
    return Work(
        size=size,
        given=[golden.images[index] for index in chosen],
        gaps=partial(verdict_gaps, expected),
    )


def seconds_per_batch(side: Any, given: Any) -> float:
    """Run `side` for about ROUND_S; return the median of its batches."""
    times: list[float] = []
    end = time.perf_counter() + ROUND_S
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        side.run(given)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compared(sides: Mapping[str, Any], work: Work, rounds: int) -> dict[str, Any]:
    """Check every side's answers, then time them in turns."""
    found = {name: checked(name, side, work) for name, side in sides.items()}
    able = {name: side for name, side in sides.items() if "error" not in found[name]}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, side in able.items():
            times[name].append(seconds_per_batch(side, work.given))
    for name, seconds in times.items():
        found[name]["ms_per_batch"] = round(1000 * statistics.median(seconds), 3)
        found[name]["frames_per_s"] = round(work.size / statistics.median(seconds), 1)
        if name != "ours":
            # Above 1: ours is faster by that factor.
            found[f"{name}_over_ours"] = ratio(seconds, times["ours"]).as_json()
    return found


def checked(name: str, side: Any, work: Work) -> dict[str, Any]:
    """Warm a side up, and say how far its answers are from those in FP32.

    What PyTorch cannot do is written down; ours has to work, and to be right.
    """
    try:
        for _ in range(WARM_UP_RUNS):
            answers = side.run(work.given)
    except Exception as error:
        if name == "ours":
            raise
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    gaps = work.gaps(answers)
    if name == "ours":
        require_close(gaps)
    return {"largest_difference_from_fp32": gaps}


def require_close(gaps: Mapping[str, float]) -> None:
    for name, gap in gaps.items():
        largest = LARGEST_DIFFERENCE[name.rpartition(".")[2]]
        if not gap <= largest:
            raise SystemExit(f"{name} is {gap} from the FP32 answer, over {largest}")
