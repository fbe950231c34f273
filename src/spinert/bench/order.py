"""What `spinert bench run` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from spinert.bench.arrivals import Pattern
from spinert.bench.loadgen_order import RULES_SECONDS, Scenario
from spinert.runtime.config import Settings

__all__ = ["LOCAL_ONLY", "MLPERF", "BenchOrder", "Part"]


class Part(StrEnum):
    """What a report can hold; the names that --scenario takes."""

    LEVELS = "levels"
    OPEN_LOOP = "open-loop"
    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    SERVER = "server"
    OFFLINE = "offline"
    ACCURACY = "accuracy"
    LAYERS = "layers"
    SCALING = "scaling"
    COLD_START = "cold-start"


MLPERF: Final = {
    Part.SINGLE_STREAM: Scenario.SINGLE_STREAM,
    Part.MULTI_STREAM: Scenario.MULTI_STREAM,
    Part.SERVER: Scenario.SERVER,
    Part.OFFLINE: Scenario.OFFLINE,
}
LOCAL_ONLY: Final = frozenset(
    {Part.ACCURACY, Part.LAYERS, Part.SCALING, Part.COLD_START}
)
"""Need a bundle: what they measure is not to be seen from outside of a server."""


@dataclass(frozen=True, kw_only=True)
class BenchOrder:
    """One run."""

    bundle: Path | None
    server: str | None
    """HOST:PORT; None: serve `bundle`."""
    config: Path | None
    settings: Settings
    """Those of `config`."""
    parts: frozenset[Part]
    seconds: float
    """About the time of one level in one round, and of one scenario."""
    rounds: int
    devices: tuple[int, ...]
    pattern: Pattern
    seed: int
    long_edges_px: tuple[int, ...]
    syntaxes: tuple[str, ...]
    p99_ms: float | None
    """Bound of the Server scenario; None: four times the median of one device."""
    is_by_rules: bool
    """MLPerf's least duration for its scenarios."""

    @property
    def scenario_seconds(self) -> float:
        """Return the least duration of one of LoadGen's scenarios."""
        return max(self.seconds, RULES_SECONDS) if self.is_by_rules else self.seconds

    def told(self) -> dict[str, Any]:
        """Return JSON values for a report; no address, no path."""
        return {
            "scenarios": sorted(self.parts),
            "seconds": self.seconds,
            "rounds": self.rounds,
            "devices": list(self.devices),
            "pattern": str(self.pattern),
            "seed": self.seed,
            "rules": self.is_by_rules,
        }
