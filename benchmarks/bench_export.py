"""How long the published system takes from checkpoints to engines.

Three DenseNets and one R50 detector at the official 800/1333: export (with its
parity checks) and `spinert verify`, the same export once more, and the engines of
one SM with TensorRT-RTX, built on the CPU. The checkpoints, in the key layouts of
the official repositories, are written before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from commands import run_spinert
from harness import HERE, machine, write_json
from rich.console import Console
from safetensors.torch import save_file

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.architectures import ARCHITECTURES
from spinert.export.graphs import untrained_checkpoints
from spinert.export.making import export_plan
from spinert.export.preprocess import network_frame
from spinert.export.recipe import recipe_from_toml

_RECIPE = """
name = "published"
version = "1"
preset = "vindr"

[[classifier]]
architecture = "densenet121"
checkpoint = "{densenet121}"

[[classifier]]
architecture = "densenet169"
checkpoint = "{densenet169}"

[[classifier]]
architecture = "densenet201"
checkpoint = "{densenet201}"

[detector]
name = "detector"
architecture = "{architecture}"
checkpoint = "{detector}"
"""


_UNTRAINED = {
    "densenet121": "untrained:121",
    "densenet169": "untrained:169",
    "densenet201": "untrained:201",
    "detector": "untrained:50",
}


def write_checkpoints(detector: str, folder: Path) -> dict[str, str]:
    """Write a checkpoint for each network of the recipe; return the files' names."""
    recipe = folder / "untrained.toml"
    recipe.write_text(_RECIPE.format(architecture=detector, **_UNTRAINED))
    plan = export_plan(recipe_from_toml(recipe), ARCHITECTURES)
    files = {}
    for role in (CLASSIFIER, DETECTOR):
        stated = plan.bundle.networks[role].input
        frames = [
            network_frame(image.grey(plan.bundle.grey), stated) for image in plan.images
        ]
        made = untrained_checkpoints(plan.opened, plan.bundle, role, frames)
        for name, tensors in made.items():
            files[name] = f"{name}.safetensors"
            save_file(tensors, folder / files[name])
    return files


def measure(detector: str, folder: Path) -> dict[str, Any]:
    """Return seconds and peak memory of each command."""
    recipe, bundle = folder / "recipe.toml", folder / "bundle"
    files = write_checkpoints(detector, folder)
    recipe.write_text(_RECIPE.format(architecture=detector, **files))
    cache = str(folder / "cache")
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "XDG_STATE_HOME": cache}
    build = ("build", bundle, "--target", "tensorrt-rtx", "--sm", "86", "--json")
    commands: dict[str, tuple[str | Path, ...]] = {
        "export": ("export", recipe, "-o", bundle),
        "verify": ("verify", bundle, "--json"),
        "export_again": ("export", recipe, "-o", bundle, "--replace"),
        "build": build,
    }
    found: dict[str, Any] = {"detector": detector}
    for name, arguments in commands.items():
        done = run_spinert(*arguments, environment=environment)
        found[name] = {
            "seconds": done.seconds,
            "peak_rss_mib": done.peak_rss_mib,
            **({"error": done.error} if done.code else {}),
        }
        if name == "build" and done.output:
            engines = json.loads(done.output)["engines"]
            found["engines"] = [
                {key: value for key, value in engine.items() if key != "directory"}
                for engine in engines
            ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", default="sparse_rcnn_r50_fpn")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "export.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.detector, Path(folder))
    found |= {"date": str(date.today()), "machine": machine()}
    write_json(arguments.output, found)
    Console().print_json(data=found)


if __name__ == "__main__":
    main()
