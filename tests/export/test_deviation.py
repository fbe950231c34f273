"""What roi_sampling = 2 changes of detectron2's answers is measured and recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from support.onnx_files import classifier_file
from support.small_faster_rcnns import ARCHITECTURE
from support.small_networks import SMALL, write_recipe

from spinert.export.architectures import ARCHITECTURES
from spinert.export.cache import ExportCache
from spinert.export.deviation import Asked, deviations
from spinert.export.errors import RecipeError
from spinert.export.golden import golden_images
from spinert.export.graphs import Graph, detector_graph
from spinert.export.members import OpenedMember, opened_recipe
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.faster_rcnn import FasterRCNN
from spinert.export.pipeline import Resources, export_bundle
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import network_frame
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)

NETWORKS = {**SMALL, "small_faster_rcnn": ARCHITECTURE}
RECIPE = """
name = "approximated"
version = "1"
preset = "vindr"
precisions = ["fp32"]

[[classifier]]
name = "first"
architecture = "onnx"
checkpoint = "first.onnx"
mapping = {{ meaning = "two_logits" }}

[detector]
architecture = "small_faster_rcnn"
style = "detectron2"
checkpoint = "untrained:1"
options.rpn_per_level = 60
options.proposals = 50
{options}

[golden]
sizes = [[301, 190], [301, 190], [200, 310]]
batch_sizes = [1, 2]

[bundle.networks.classifier.input.canvas.fixed]
height = 64
width = 64

[bundle.networks.detector.input.canvas.shortest_edge]
short_edge = 160
max_long_edge = 256
"""

# Converted in a fraction of the time.
SPARSE = (
    RECIPE.format(options="options.roi_sampling = 5")
    .replace("small_faster_rcnn", "small_sparse_rcnn")
    .replace('style = "detectron2"\n', "")
    .replace("options.rpn_per_level = 60\n", "")
    .replace("options.proposals = 50\n", "")
)


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A detector that is about to be exported, and what it answers."""

    graph: Graph
    opened: OpenedMember
    bundle: pb.Bundle
    asked: list[Asked]

    @property
    def deviations(self) -> list[pb.Deviation]:
        return list(deviations(self.graph, self.opened, self.asked, self.bundle))

    def findings(self, sampling: int, asked: Asked) -> list:
        """Return what a served frame would be told with this sampling."""
        (member,) = self.graph.members
        spec = member.network.spec
        network = FasterRCNN(replace(spec, roi=replace(spec.roi, sampling=sampling)))
        network.load_state_dict(member.network.state_dict())
        module = DetectorGraph(self.graph.module.grey, network, self.graph.module.keep)
        graph = replace(self.graph, module=module.eval())
        answer = graph.answer(asked.frame)
        del answer["status"]
        rows, columns = asked.shape
        geometry = Geometry(
            rows=rows,
            columns=columns,
            rows_per_pixel=rows / asked.frame.height,
            columns_per_pixel=columns / asked.frame.width,
        )
        rule = self.bundle.networks["detector"].detection
        return list(findings_from_candidates(Candidates(**answer), rule, geometry))


def detector(folder: Path, options: str) -> Detector:
    classifier_file(folder / "first.onnx")
    recipe = recipe_from_toml(write_recipe(folder, RECIPE.format(options=options)))
    opened = opened_recipe(recipe, NETWORKS)
    bundle = bundle_from_recipe(recipe, opened)
    images = golden_images(recipe.golden)
    stated = bundle.networks["detector"].input
    frames = [network_frame(image.grey(bundle.grey), stated) for image in images]
    graph = detector_graph(opened, bundle, frames)
    asked = [
        Asked(frame=frame, shape=image.stored.shape, answer=graph.answer(frame))
        for image, frame in zip(images, frames, strict=True)
    ]
    return Detector(graph=graph, opened=opened.detector, bundle=bundle, asked=asked)


def overlap(one, other) -> float:
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    shared = max(width, 0) * max(height, 0)
    areas = [(b.x_max - b.x_min) * (b.y_max - b.y_min) for b in (one, other)]
    return shared / (sum(areas) - shared)


def pairs_of(expected: list, found: list) -> list[tuple]:
    """Pair findings of one class that overlap by half, the best overlap first."""
    choices = sorted(
        (
            (overlap(one.box, other.box), i, j)
            for i, one in enumerate(expected)
            for j, other in enumerate(found)
            if one.class_index == other.class_index
        ),
        key=lambda choice: -choice[0],
    )
    pairs: dict[int, int] = {}
    for ratio, i, j in choices:
        if ratio >= 0.5 and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return [(expected[i], found[j]) for i, j in pairs.items()]


def test_sampling_twice_is_measured_against_what_detectron2_does(tmp_path) -> None:
    made = detector(tmp_path, "options.roi_sampling = 2")
    (told,) = made.deviations
    assert (told.option, told.default_value, told.used_value) == (
        "roi_sampling",
        "0",
        "2",
    )
    total = lost = invented = 0
    box_gaps, score_gaps = [], []
    for asked in made.asked:
        expected, found = (made.findings(sampling, asked) for sampling in (0, 2))
        pairs = pairs_of(expected, found)
        total += len(expected)
        lost += len(expected) - len(pairs)
        invented += len(found) - len(pairs)
        # Boxes of the network's input; these are of the original image.
        ratio = asked.frame.width / asked.shape[1]
        for one, other in pairs:
            score_gaps.append(abs(one.score - other.score))
            names = ("x_min", "y_min", "x_max", "y_max")
            edges = [[getattr(f.box, name) for name in names] for f in (one, other)]
            box_gaps.append(ratio * np.abs(np.subtract(*edges)))
    assert (told.findings, told.lost, told.invented) == (total, lost, invented)
    # A measurement of the network against itself would find nothing.
    assert lost
    assert invented
    assert told.scores_max == pytest.approx(max(score_gaps), abs=1e-6)
    assert told.scores_mean == pytest.approx(np.mean(score_gaps), abs=1e-6)
    assert told.scores_max > 1e-3
    assert told.boxes_max_px == pytest.approx(np.max(box_gaps), rel=0.02)
    assert told.boxes_mean_px == pytest.approx(np.mean(box_gaps), rel=0.02)
    assert told.boxes_max_px > 0.1


def test_lost_findings_above_the_cut_off_are_flips(tmp_path) -> None:
    made = detector(tmp_path, "options.roi_sampling = 2")
    made.bundle.fusion.low_confidence_cutoff = 0.0
    (told,) = made.deviations
    assert told.decision_flips == told.lost + told.invented
    made.bundle.fusion.low_confidence_cutoff = 1.0
    (told,) = made.deviations
    assert told.decision_flips == 0


@pytest.mark.parametrize("options", ["", "options.roi_sampling = 0"])
def test_nothing_is_recorded_where_the_layout_is_followed(tmp_path, options) -> None:
    assert detector(tmp_path, options).deviations == []


@pytest.mark.slow
def test_a_bundle_holds_it_also_when_its_network_was_kept(tmp_path) -> None:
    classifier_file(tmp_path / "first.onnx")
    recipe, steps = write_recipe(tmp_path, SPARSE), []
    resources = Resources(cache=ExportCache(tmp_path / "cache"))
    told = []
    for name in ("first", "second"):
        export_bundle(
            recipe,
            tmp_path / name,
            lambda step, _: steps.append(step),
            architectures=NETWORKS,
            resources=resources,
        )
        text = (tmp_path / name / "bundle.json").read_text()
        told.append(json_format.Parse(text, pb.Bundle()).networks["detector"])
    assert "detector: kept from an earlier export" in steps
    (found,) = told[0].deviations
    assert (found.option, found.default_value, found.used_value) == (
        "roi_sampling",
        "2",
        "5",
    )
    assert found.scores_max > 0
    assert told[1].deviations == told[0].deviations


def test_a_recipe_cannot_state_it(tmp_path) -> None:
    text = "options.roi_sampling = 2\n[bundle.networks.detector]\ndeviations = []"
    with pytest.raises(RecipeError, match=r"detector\.deviations: is derived"):
        detector(tmp_path, text)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_approximates_is_an_option_of_every_layout(name) -> None:
    architecture = ARCHITECTURES[name]
    for style in architecture.styles:
        assert architecture.approximations <= {*architecture.options, *style.options}
        assert architecture.role == "detector" or not architecture.approximations
