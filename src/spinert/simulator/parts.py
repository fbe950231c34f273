"""What a scenario is run with: accelerators, workers, and the engine's admission."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spinert.runtime.config import EngineSettings
from spinert.runtime.engine.admission import Admission
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.kinds import kind_of
from spinert.runtime.engine.line import WaitingLine
from spinert.runtime.engine.outlook import Outlook
from spinert.runtime.engine.stage_line import Stage
from spinert.runtime.engine.stages import PREPARE, learn_costs
from spinert.runtime.engine.ticket import BatchRules
from spinert.simulator.flight import Accelerator, Frame, Preparation, Waiting
from spinert.simulator.scenario import SIZES, Network, Scenario

__all__ = [
    "accelerators_from_scenario",
    "admission_from_parts",
    "preparation_from_scenario",
]


def accelerators_from_scenario(scenario: Scenario) -> list[Accelerator]:
    """Return accelerators that are warm, as those of an engine are."""
    rules = BatchRules(
        max_batch=scenario.max_batch, max_delay_s=scenario.max_delay_s, margin_s=0.0005
    )
    accelerators = [
        Accelerator(
            queue=Waiting(line=WaitingLine(rules)),
            has_prediction=scenario.has_prediction,
        )
        for _ in range(scenario.accelerators)
    ]
    for accelerator in accelerators:
        warming = _Warming(accelerator, scenario.network)
        learn_costs(warming.run, scenario.max_batch, clock=warming.clock)
    return accelerators


def preparation_from_scenario(scenario: Scenario) -> Preparation:
    """Return the stage before the accelerators, which knows nothing yet."""
    return Preparation(
        queue=Waiting(line=WaitingLine(BatchRules(max_batch=1, max_delay_s=0.0))),
        durations=Durations(scenario.prepare_workers * scenario.accelerators),
        has_prediction=scenario.has_prediction,
    )


def admission_from_parts(
    scenario: Scenario,
    accelerators: Sequence[Accelerator],
    preparation: Preparation,
    clock: Callable[[], float],
) -> Admission[Frame]:
    """Return an admission that is open and looks ahead through all stages.

    The stages of the accelerators are called by their numbers.
    """
    stages = {
        str(number): Stage(costs=accelerator.costs, max_batch=scenario.max_batch)
        for number, accelerator in enumerate(accelerators)
    }
    stages[PREPARE] = Stage(
        costs=preparation.costs,
        kind_of=kind_of,
        workers=preparation.durations.workers,
    )
    before = ((PREPARE,),) if scenario.prepare_s else ()
    outlook: Outlook[Frame] = Outlook(
        stages, lambda frame: (*before, (str(frame.accelerator),))
    )
    room = scenario.max_frames * scenario.accelerators
    limits = EngineSettings(
        max_batch=scenario.max_batch, max_frames=room, max_frames_per_device=room
    )
    admission = Admission(limits, clock, outlook)
    admission.open()
    return admission


class _Warming:
    """Runs batches before the first frame, each in the time it usually takes."""

    def __init__(self, accelerator: Accelerator, network: Network) -> None:
        self._model = accelerator.model
        self._network = network
        self._size, _ = SIZES[0]
        # Long enough ago that nothing is left but what was learned.
        self._now_s = -10.0 - 2 * network.batch_s(self._size, 1)

    def clock(self) -> float:
        return self._now_s

    def run(self, batch: int) -> None:
        start_s = self._now_s
        self._now_s += self._network.batch_s(self._size, batch)
        self._model.observe(self._size, batch, start_s=start_s, end_s=self._now_s)
