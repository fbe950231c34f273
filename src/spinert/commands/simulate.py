"""`spinert simulate`: the scheduler on a virtual clock."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spinert.commands.common import OUTPUT_FILE

if TYPE_CHECKING:
    from spinert.simulator.scenario import Scenario

__all__ = ["simulate"]


@click.command()
@click.option("--accelerators", type=int, multiple=True, default=(1,))
@click.option("--load", type=float, multiple=True, default=(0.5, 1, 2, 10))
@click.option(
    "--prediction",
    type=click.Choice(["on", "off", "both"]),
    default="on",
    show_default=True,
    help="Learned costs: for refusing early, and for releasing batches.",
)
@click.option("--devices", type=int, default=100, show_default=True)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "periodic"]),
    default="poisson",
    show_default=True,
)
@click.option(
    "--deadline-ms",
    type=float,
    multiple=True,
    default=(100,),
    help="Each frame has one of these; 0: none. [default: 100]",
)
@click.option("--stat-share", type=float, default=0.05, show_default=True)
@click.option(
    "--greedy-share",
    type=float,
    default=0.0,
    help="Of all frames, sent by one device.",
)
@click.option("--fixed-ms", type=float, default=4.0, show_default=True, help="A batch.")
@click.option("--frame-ms", type=float, default=1.0, show_default=True, help="A frame.")
@click.option(
    "--prepare-ms",
    type=float,
    default=0.0,
    show_default=True,
    help="Before its network a frame, on one worker; 0: frames arrive prepared.",
)
@click.option(
    "--prepare-workers",
    type=int,
    default=2,
    show_default=True,
    help="For each accelerator.",
)
@click.option("--spread", type=float, default=0.05, show_default=True, help="Of times.")
@click.option("--max-batch", type=int, default=8, show_default=True)
@click.option("--max-delay-ms", type=float, default=2.0, show_default=True)
@click.option(
    "--max-frames",
    type=int,
    default=256,
    show_default=True,
    help="In flight, for each accelerator.",
)
@click.option(
    "--stall-ms",
    type=float,
    default=0.0,
    help="By which one batch takes longer, once.",
)
@click.option("--duration", "duration_s", type=float, default=4.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "json_file", type=OUTPUT_FILE, help="Write every figure.")
@click.option("--plot", "plot_file", type=OUTPUT_FILE, help="Draw it: .svg or .png.")
def simulate(json_file: Path | None, plot_file: Path | None, **given: Any) -> None:
    """Run the scheduler against made-up accelerators and devices.

    It is the code of the server, on a clock that jumps. --accelerators, --load and
    --deadline-ms may be given several times: every combination of the first two is
    run. The load is relative to what full batches could serve.
    """
    from spinert.runtime.report.progress import console, count_progress
    from spinert.simulator.report import json_from_outcomes, table_from_outcomes
    from spinert.simulator.world import simulated

    if plot_file is not None and plot_file.suffix not in (".svg", ".png"):
        raise click.BadParameter("--plot: the name must end in .svg or .png")
    for path in filter(None, (json_file, plot_file)):
        path.parent.mkdir(parents=True, exist_ok=True)
    scenarios = _scenarios(given)
    outcomes = []
    with count_progress(console(stderr=True), "simulating", len(scenarios)) as done:
        for scenario in scenarios:
            outcomes.append(simulated(scenario))
            done()
    console().print(table_from_outcomes(outcomes))
    if json_file is not None:
        text = json.dumps(json_from_outcomes(outcomes), indent=1)
        json_file.write_text(text + "\n")
    if plot_file is not None:
        from spinert.simulator.plots import save_figure

        save_figure(outcomes, plot_file)


def _scenarios(given: dict[str, Any]) -> Sequence[Scenario]:
    from spinert.simulator.scenario import Arrivals, Network, Scenario

    predictions = {"on": (True,), "off": (False,), "both": (True, False)}
    runs = itertools.product(
        given["accelerators"], predictions[given["prediction"]], given["load"]
    )
    return [
        Scenario(
            accelerators=accelerators,
            load=load,
            has_prediction=has_prediction,
            devices=given["devices"],
            arrivals=Arrivals(given["arrivals"]),
            deadlines_s=tuple(ms / 1000 for ms in given["deadline_ms"] if ms),
            stat_share=given["stat_share"],
            greedy_share=given["greedy_share"],
            network=Network(
                fixed_s=given["fixed_ms"] / 1000,
                frame_s=given["frame_ms"] / 1000,
                spread=given["spread"],
            ),
            prepare_s=given["prepare_ms"] / 1000,
            prepare_workers=given["prepare_workers"],
            max_batch=given["max_batch"],
            max_delay_s=given["max_delay_ms"] / 1000,
            max_frames=given["max_frames"],
            stall_s=given["stall_ms"] / 1000,
            duration_s=given["duration_s"],
            seed=given["seed"],
        )
        for accelerators, has_prediction, load in runs
    ]
