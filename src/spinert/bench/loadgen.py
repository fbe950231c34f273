"""Run MLPerf's LoadGen against a server, and read what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from spinert.bench.errors import LoadGenFailed
from spinert.bench.frames import LoadFrame, wire_from_frame
from spinert.bench.loadgen_order import (
    RULES_SECONDS,
    LoadGenOrder,
    Scenario,
    order_to_json,
    result_from_summary,
)

__all__ = ["LoadGen", "opened_loadgen"]

_SLACK: Final = 20
"""Times the least duration after which LoadGen is given up: Offline's query is as
large as was expected, MultiStream ends with whole queries."""
_LEAST_WAIT_S: Final = 600.0
_SUMMARY: Final = "mlperf_log_summary.txt"
_ACCURACY: Final = "mlperf_log_accuracy.json"


@dataclass(frozen=True, kw_only=True)
class LoadGen:
    """Frames on disk, ready for LoadGen's process."""

    folder: Path
    order: LoadGenOrder
    """Of every run but for what it is called with."""

    def performance(
        self, scenario: Scenario, *, rate_per_s: float, latency_bound_ms: float
    ) -> dict[str, Any]:
        """Run one scenario; see `result_from_summary` for what is returned.

        `latency` and `failures` are counted beside LoadGen. A run with failures, or
        one shorter than the rules ask, is told as such.

        Raises:
            LoadGenFailed: There is no result.
        """
        order = replace(
            self.order,
            scenario=scenario,
            rate_per_s=rate_per_s,
            latency_bound_ms=latency_bound_ms,
        )
        logs, told = self._run(order)
        summary = (logs / _SUMMARY).read_text()
        found = result_from_summary(scenario, summary) | told
        found["by_the_rules"] = order.seconds >= RULES_SECONDS
        if told["failures"]:
            count = sum(told["failures"].values())
            found["state"] = "INVALID"
            found["reasons"].insert(0, f"{count} frames have no answer")
        return {
            "scenario": scenario,
            "seconds": order.seconds,
            "target_per_s": rate_per_s if scenario is Scenario.SERVER else None,
            "latency_bound_ms": latency_bound_ms
            if scenario is Scenario.SERVER
            else None,
            **found,
        }

    def accuracy(self) -> tuple[list[bytes | None], dict[str, int]]:
        """Send every frame once, in accuracy mode.

        Returns:
            The serialized verdict of each frame, None where there is none; and the
            reasons for that.

        Raises:
            LoadGenFailed: There is no result.
        """
        order = replace(self.order, scenario=Scenario.OFFLINE, is_accuracy=True)
        logs, told = self._run(order)
        answers: list[bytes | None] = [None] * len(order.frames)
        for entry in json.loads((logs / _ACCURACY).read_text()):
            answers[entry["qsl_idx"]] = bytes.fromhex(entry["data"]) or None
        return answers, told["failures"]

    def _run(self, order: LoadGenOrder) -> tuple[Path, dict[str, Any]]:
        logs = Path(tempfile.mkdtemp(prefix=f"{order.scenario}-", dir=self.folder))
        wanted, result = logs / "order.json", logs / "result.json"
        wanted.write_text(order_to_json(replace(order, logs=str(logs))))
        module = "spinert.bench.loadgen_process"
        command = [sys.executable, "-m", module, str(wanted), str(result)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=max(_LEAST_WAIT_S, _SLACK * order.seconds),
            )
        except subprocess.TimeoutExpired as error:
            raise LoadGenFailed(
                f"{order.scenario} did not end; give it less with --seconds"
            ) from error
        if done.returncode or not result.exists():
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise LoadGenFailed(
                f"{order.scenario} ended with code {done.returncode}: {said[:200]}"
            )
        told: dict[str, Any] = json.loads(result.read_text())
        return logs, told


@contextmanager
def opened_loadgen(
    address: str, frames: Sequence[LoadFrame], seconds: float
) -> Iterator[LoadGen]:
    """Yield LoadGen with `frames` as its library, against the server at `address`."""
    with tempfile.TemporaryDirectory(prefix="spinert-loadgen-") as name:
        folder = Path(name)
        paths = []
        for index, frame in enumerate(frames):
            path = folder / f"{index:04}.frame"
            path.write_bytes(wire_from_frame(frame.frame))
            paths.append(str(path))
        order = LoadGenOrder(
            scenario=Scenario.SINGLE_STREAM,
            address=address,
            frames=tuple(paths),
            logs="",
            seconds=seconds,
        )
        yield LoadGen(folder=folder, order=order)
