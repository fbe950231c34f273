"""What two parts of the detectors cost that other exports leave to plugins.

The suppression of proposals and RoIAlign are written with standard operators. Their
share of a network's time comes from ONNX Runtime's profile of that network, node by
node: PyTorch's exporter notes from which `forward` each node comes, so the functions
of interest are exported from within one of that name. Beside it runs the same
network with ONNX's RoiAlign, with the same weights, the same image and alternating.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from harness import HERE, Ratio, machine, ratio, renew_readme, write_json
from rich.console import Console

from spinert.export.architectures import ARCHITECTURES
from spinert.export.golden import golden_images
from spinert.export.graphs import Graph, detector_graph
from spinert.export.members import OpenedRecipe, opened_recipe
from spinert.export.networks import rpn, sparse_rcnn
from spinert.export.networks.faster_rcnn import FasterRCNN
from spinert.export.networks.roi_align import Pyramid
from spinert.export.onnx_from_torch import traced_program
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import network_frame
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb

START = "<!-- graphs: written by bench_graphs.py --readme -->"
END = "<!-- end of graphs -->"
SUPPRESSION, ROI_ALIGN, REST = "suppression", "roi_align", "rest"
# Lines of the functions below, as a node's stack trace shows them.
_MARKERS = {
    "suppressed = function(": SUPPRESSION,
    "pooled = function(": ROI_ALIGN,
}
_TRACE = "pkg.torch.onnx.stack_trace"
_ROWS, _COLUMNS = 1333, 2222  # becomes 800 x 1333, padded to 800 x 1344
_RECIPE = f"""
name = "cost"
version = "1"
preset = "vindr"
[[classifier]]
architecture = "densenet121"
checkpoint = "untrained:1"
[detector]
architecture = "{{architecture}}"
checkpoint = "untrained:1"
options = {{{{ roi_sampling = 2 }}}}
[golden]
sizes = [[{_ROWS}, {_COLUMNS}], [{_ROWS}, {_COLUMNS}], [{_ROWS}, {_COLUMNS}]]
"""

Function = Callable[..., Any]
Feed = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A detector with calibrated weights, and one image for it."""

    opened: OpenedRecipe
    bundle: pb.Bundle
    graph: Graph
    example: tuple[torch.Tensor, ...]
    """Two frames."""

    @property
    def feed(self) -> Feed:
        pairs = zip(self.graph.spec.inputs, self.example, strict=True)
        return {name: value[:1].numpy() for name, value in pairs}

    def pooled_by_operator(self) -> torch.nn.Module:
        """Return the same network with ONNX's RoiAlign."""
        member = self.opened.detector
        options = {**member.options, "roi_operator": True}
        network = member.architecture.build(options, len(self.bundle.classes))
        own = self.graph.module
        network.load_state_dict(own.network.state_dict())
        return type(own)(own.grey, network.eval(), own.keep).eval()


def prepared(architecture: str, folder: Path) -> Prepared:
    path = folder / "recipe.toml"
    path.write_text(_RECIPE.format(architecture=architecture))
    recipe = recipe_from_toml(path)
    opened = opened_recipe(recipe, ARCHITECTURES)
    bundle = bundle_from_recipe(recipe, opened)
    images = golden_images(recipe.golden)
    stated = bundle.networks["detector"].input
    frames = [network_frame(image.grey(bundle.grey), stated) for image in images]
    graph = detector_graph(opened, bundle, frames)
    if not isinstance(graph, Graph):
        raise TypeError(f"{architecture} is not made of PyTorch modules")
    example = graph.inputs(frames[:2])
    return Prepared(opened=opened, bundle=bundle, graph=graph, example=example)


def _as_suppression(function: Function) -> Function:
    def forward(*arguments: Any) -> Any:
        suppressed = function(*arguments)
        return suppressed

    return forward


def _as_pooling(function: Function) -> Function:
    def forward(*arguments: Any) -> Any:
        pooled = function(*arguments)
        return pooled

    return forward


@contextmanager
def _parts_in_traces() -> Iterator[None]:
    """Let the parts appear in stack traces, which show functions named `forward`."""
    pooling = (FasterRCNN, "pooled"), (sparse_rcnn, "roi_align")
    with ExitStack() as stack:
        replaced = _as_suppression(rpn.survivors)
        stack.enter_context(patch.object(rpn, "survivors", replaced))
        for owner, name in (*pooling, (Pyramid, "from_levels")):
            replaced = _as_pooling(getattr(owner, name))
            stack.enter_context(patch.object(owner, name, replaced))
        yield


def model_with_parts(made: Prepared, module: torch.nn.Module) -> bytes:
    """Return the ONNX graph, every node named after its part."""
    with _parts_in_traces():
        program = traced_program(module, made.example, made.graph.spec)
    model = program.model_proto
    for index, node in enumerate(model.graph.node):
        node.name = f"{_part(node)}/{node.op_type}_{index}"
        del node.metadata_props[:]
    return bytes(model.SerializeToString())


def _part(node: Any) -> str:
    trace = next((p.value for p in node.metadata_props if p.key == _TRACE), "")
    for marker, part in _MARKERS.items():
        if marker in trace:
            return part
    return REST


def _session(model: bytes, profile: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )


def shares_of_parts(model: bytes, feed: Feed, rounds: int, work: Path) -> Any:
    """Return each part's share of a run's node time, and milliseconds of a run."""
    session = _session(model, work / "profile")
    for _ in range(rounds + 1):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    runs = _node_runs(events)[1:]  # the first one also allocates
    shares = {
        part: ratio([run[part] for run in runs], [run.total() for run in runs])
        for part in (SUPPRESSION, ROI_ALIGN)
        if any(run[part] for run in runs)
    }
    total_ms = [round(run.total() / 1e3, 1) for run in runs]
    return shares, {"nodes_ms": total_ms}


def _node_runs(events: list[dict[str, Any]]) -> list[Counter[str]]:
    """Return microseconds by part of every run."""
    ended = sorted(
        event["ts"] + event["dur"] for event in events if event["name"] == "model_run"
    )
    runs: list[Counter[str]] = [Counter() for _ in ended]
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            own = int(np.searchsorted(ended, event["ts"]))
            runs[own][event["name"].partition("/")[0]] += event["dur"]
    unknown = set().union(*runs) - {SUPPRESSION, ROI_ALIGN, REST}
    for run in runs:
        for name in unknown:  # what the runtime adds: reordered layouts
            run[REST] += run.pop(name, 0)
    return runs


def alternating(ours: bytes, theirs: bytes, feed: Feed, rounds: int) -> Ratio:
    """Return the time of a run over that of the other graph."""
    sessions = [_session(ours), _session(theirs)]
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for session, taken in zip(sessions, seconds, strict=True):
            started = time.perf_counter()
            session.run(None, feed)
            taken.append(time.perf_counter() - started)
    return ratio(*(taken[1:] for taken in seconds))


def measure(architecture: str, rounds: int, work: Path) -> dict[str, Any]:
    """Measure one detector at 800 x 1344."""
    made = prepared(architecture, work)
    plain = model_with_parts(made, made.graph.module)
    shares, times = shares_of_parts(plain, made.feed, rounds, work)
    found = {
        "input": list(made.feed["image"].shape[2:]),
        "options": {k: str(v) for k, v in made.opened.detector.options.items()},
        "share": {part: share.as_json() for part, share in shares.items()},
        **times,
    }
    if "roi_operator" in made.opened.detector.options:
        other = model_with_parts(made, made.pooled_by_operator())
        found["largest_difference"] = _difference(plain, other, made.feed)
        own, times = shares_of_parts(other, made.feed, rounds, work)
        found["by_operator"] = {
            "share": {part: share.as_json() for part, share in own.items()},
            **times,
        }
        over = alternating(plain, other, made.feed, rounds)
        found["plain_over_operator"] = over.as_json()
    return found


def _difference(ours: bytes, theirs: bytes, feed: Feed) -> dict[str, float]:
    scores = [np.sort(_session(m).run(["scores"], feed)[0]) for m in (ours, theirs)]
    return {"scores": float(np.abs(scores[0] - scores[1]).max())}


def rows(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (what, figure, target) of everything that was measured."""
    named = {SUPPRESSION: "proposal NMS", ROI_ALIGN: "plugin-free RoIAlign"}
    targets = {SUPPRESSION: "<= 5 %", ROI_ALIGN: "<= 10 %"}
    told = []
    for architecture, found in results["networks"].items():
        forms = {"": found, ", RoiAlign operator": found.get("by_operator", {})}
        for form, measured in forms.items():
            for part, share in measured.get("share", {}).items():
                label = "RoIAlign" if form and part == ROI_ALIGN else named[part]
                what = f"{architecture}{form}: {label}, share of node time"
                figure = "{:.1f} % ({:.1f}-{:.1f})".format(
                    *(100 * share[key] for key in ("median", "min", "max"))
                )
                told.append((what, figure, "" if form else targets[part]))
        if over := found.get("plain_over_operator"):
            figure = f"{over['median']:.2f} ({over['min']:.2f}-{over['max']:.2f})"
            what = f"{architecture}: time without over with the RoiAlign operator"
            told.append((what, figure, ""))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "graphs.json")
    parser.add_argument("--readme", action="store_true", help="renew its table")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"date": str(date.today()), "machine": machine()}
    results["networks"] = {}
    for architecture in ("faster_rcnn_r50_fpn", "sparse_rcnn_r50_fpn"):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(architecture, arguments.rounds, Path(folder))
        results["networks"][architecture] = found
        write_json(arguments.output, results)
    if arguments.readme:
        renew_readme((START, END), results, arguments.output, rows(results))
    Console().print_json(data=results)


if __name__ == "__main__":
    main()
