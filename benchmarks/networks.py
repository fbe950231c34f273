"""Every architecture in every key layout: export, half precision, engine, gate.

Each row is one recipe with untrained, calibrated weights, written in the layout of
that style, and goes through the commands a user would type. Rows are written one by
one and are not measured again while they stand in the file; `--again` starts over.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from commands import run_spinert
from harness import HERE, machine, write_json
from rich.console import Console

from spinert.export.architecture import CLASSIFIER, Architecture
from spinert.export.architectures import ARCHITECTURES

SM = 86
SHORT_EDGE_PX, LONG_EDGE_PX = 160, 256
# The other half of each bundle; the export cache makes it once.
_CLASSIFIER = "densenet121"
_DETECTOR = "retinanet_r50_fpn"
# The last level of 128 pixels is one cell: too few to calibrate the deepest on.
_LETTERBOX_PX = {"small": 128, "large": 256}
_LARGE = tuple(f"efficientdet_d{level}" for level in range(4, 8))
_VARIANTS: dict[str, list[dict[str, int]]] = {
    "sparse_rcnn_r50_fpn": [{}, {"proposals": 300}],
    "sparse_rcnn_r101_fpn": [{}, {"proposals": 300}],
}
_ADAPTIVE = {("faster_rcnn_r50_fpn", "detectron2"): [{}, {"roi_sampling": 2}]}
# Of the random weights; 1 where none is named. With 1, PyTorch itself is 0.0017 off in
# a score of this network's first golden frame where it does not use oneDNN.
_SEEDS = {"sparse_rcnn_r50_fpn sparsercnn_coco": 2}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    architecture: str
    styles: tuple[str, ...]
    """Layouts that differ in the spelling of keys alone: the network is the same."""
    options: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        chosen = [f"{key}={value}" for key, value in self.options.items()]
        return " ".join((self.architecture, *self.styles, *chosen))

    @property
    def role(self) -> str:
        return ARCHITECTURES[self.architecture].role

    @property
    def has_fixed_canvas(self) -> bool:
        return self.role == CLASSIFIER or self.architecture.startswith("efficientdet")

    def recipe(self) -> str:
        """Write the recipe: this network, and a plain one in the other role."""
        seed = _SEEDS.get(self.name, 1)
        mine = f'architecture = "{self.architecture}"\n'
        mine += f'checkpoint = "untrained:{seed}"\n'
        mine += f'style = "{self.styles[0]}"\n'
        mine += "".join(f"options.{k} = {v}\n" for k, v in self.options.items())
        other = _DETECTOR if self.role == CLASSIFIER else _CLASSIFIER
        theirs = f'architecture = "{other}"\ncheckpoint = "untrained:1"\n'
        parts = (mine, theirs) if self.role == CLASSIFIER else (theirs, mine)
        text = 'name = "row"\nversion = "1"\npreset = "vindr"\n'
        text += f"[[classifier]]\n{parts[0]}[detector]\n{parts[1]}"
        text += "[golden]\nsizes = [[320, 256], [320, 256], [256, 320]]\n"
        text += "batch_sizes = [1, 2]\n"
        canvas = "[bundle.networks.detector.input.canvas."
        if self.role != CLASSIFIER and self.has_fixed_canvas:
            px = _LETTERBOX_PX["large" if self.architecture in _LARGE else "small"]
            edge = f"height = {px}\nwidth = {px}\n"
            return f"{text}{canvas}letterbox]\n{edge}"
        edges = f"short_edge = {SHORT_EDGE_PX}\nmax_long_edge = {LONG_EDGE_PX}\n"
        return f"{text}{canvas}shortest_edge]\n{edges}"


def cases() -> Iterator[Case]:
    for name, architecture in sorted(ARCHITECTURES.items()):
        for styles in _same_network(architecture):
            default = _VARIANTS.get(name, [{}])
            for options in _ADAPTIVE.get((name, styles[0]), default):
                yield Case(architecture=name, styles=styles, options=options)


def _same_network(architecture: Architecture) -> list[tuple[str, ...]]:
    """Group the layouts that lead to the same network."""
    groups: dict[str, list[str]] = {}
    for style in architecture.styles:
        told = json.dumps([dict(style.options), dict(style.network)], sort_keys=True)
        groups.setdefault(told, []).append(style.name)
    return [tuple(names) for names in groups.values()]


def measured(case: Case, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Export, prove and build one row."""
    recipe, bundle = folder / "recipe.toml", folder / "bundle"
    recipe.write_text(case.recipe())
    row: dict[str, Any] = {"architecture": case.architecture, "styles": case.styles}
    row |= {"options": case.options, "role": case.role}
    exported = run_spinert("export", recipe, "-o", bundle, environment=environment)
    row |= {"export_s": exported.seconds, "peak_rss_mib": exported.peak_rss_mib}
    if exported.code:
        return row | {"error": exported.error}
    network = json.loads((bundle / "bundle.json").read_text())["networks"][case.role]
    row["fp32"] = _figures(network["parity"])
    row["forms"] = [
        {
            "precision": form["precision"],
            "operators": form.get("operators", []),
            "kept_fp32": len(form.get("kept_fp32", [])),
            **_figures(form["parity"]),
        }
        for form in network.get("forms", [])
    ]
    row["deviations"] = network.get("deviations", [])
    row["input"] = network["input"]["canvas"]
    settings = folder / "settings.toml"
    settings.write_text("[engine]\nmax_batch = 2\n")
    gate = run_spinert(
        "verify", bundle, "--json", "--config", settings, environment=environment
    )
    row["gate"] = json.loads(gate.output) if not gate.code else {"error": gate.error}
    built = run_spinert(
        *("build", bundle, "--target", "tensorrt-rtx", "--sm", str(SM)),
        *("--max-batch", "2", "--json"),
        environment=environment,
    )
    row["build_s"], row["build_peak_rss_mib"] = built.seconds, built.peak_rss_mib
    row["build"] = json.loads(built.output) if built.output else {"error": built.error}
    for engine in row["build"].get("engines", []):
        del engine["directory"]
    return row


def _figures(parity: dict[str, Any]) -> dict[str, Any]:
    return {
        "compared": parity["compared"],
        "batch_sizes": parity["batch_sizes"],
        "decision_flips": parity.get("decision_flips", 0),
        "outputs": {
            entry["output"]: {
                "max": entry.get("measured_max_abs", 0.0),
                "mean": entry.get("measured_mean_abs", 0.0),
                "tolerance": entry.get("tolerance_abs", 0.0),
            }
            for entry in parity["outputs"]
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results" / "networks.json"
    )
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--again", action="store_true", help="measure rows anew")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    found: dict[str, Any] = {"rows": {}}
    if arguments.output.exists():
        found = json.loads(arguments.output.read_text())
    found |= {"date": str(date.today()), "machine": machine(), "sm": SM}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache, "XDG_STATE_HOME": cache}
        for case in cases():
            if arguments.only not in case.name:
                continue
            if case.name in found["rows"] and not arguments.again:
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = measured(case, Path(folder), environment)
            found["rows"][case.name] = row
            write_json(arguments.output, found)
            outcome = row.get("error", f"exported in {row['export_s']} s")
            console.print(f"{case.name}: {outcome}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
