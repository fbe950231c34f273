"""The differences of one network, and the first that is too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from spinert.proto.agreement import (
    AgreementRule,
    Answer,
    Difference,
    agreement,
    joined,
)
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.engine.outputs import FrameOutput
from spinert.runtime.gate.golden_set import GoldenCase
from spinert.runtime.gate.report import GateMeasure

__all__ = ["WAY_OUT", "MissError", "Tally"]

WAY_OUT: Final = "do not serve this bundle here"


class MissError(Exception):
    """An answer is not what it has to be; the text says where and how."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Everything that was compared so far."""

    rule: AgreementRule
    _worst: dict[str, Difference] = field(init=False, default_factory=dict)
    _flips: dict[str, int] = field(init=False, default_factory=dict)

    @property
    def decision_flips(self) -> int:
        """Return the flips of all frames; one that ran often counts its worst run."""
        return sum(self._flips.values())

    def compare(self, case: GoldenCase, output: FrameOutput, where: str) -> None:
        """Count what a backend answered to `case`.

        Raises:
            MissError: It is out of tolerance.
        """
        found = agreement(case.reference, _answer(output), self.rule)
        flips = max(found.decision_flips, self._flips.get(case.frame, 0))
        self._flips[case.frame] = flips
        for name, difference in found.differences.items():
            before = self._worst.get(name)
            self._worst[name] = joined(before, difference) if before else difference
        for name, difference in found.differences.items():
            tolerance = self.rule.tolerances.get(name, 0.0)
            if not difference.max_abs <= tolerance:
                raise MissError(
                    f"{where}: {_told(name, difference)}, tolerance {tolerance:.3g}; "
                    f"{WAY_OUT}"
                )

    def measures(self) -> Iterator[GateMeasure]:
        """Yield the largest and the mean difference of each output."""
        for output, worst in sorted(self._worst.items()):
            yield GateMeasure(
                output=output,
                measured_max_abs=worst.max_abs,
                measured_mean_abs=worst.mean_abs,
                tolerance_abs=self.rule.tolerances.get(output, 0.0),
            )


def _answer(output: FrameOutput) -> Answer:
    if isinstance(output, Candidates):
        return {
            "boxes": output.boxes,
            "scores": output.scores,
            "labels": output.labels,
        }
    return {"logits": output}


def _told(output: str, difference: Difference) -> str:
    """Say how an output differs, and at which element."""
    told = f"{output} differ by {difference.max_abs:.3g} from the reference"
    if not difference.index:
        return told
    place = ", ".join(str(i) for i in difference.index)
    return (
        f"{told}, most at [{place}]: {difference.actual:.6g} instead of "
        f"{difference.expected:.6g}"
    )
