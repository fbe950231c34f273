"""What `spinert inspect` tells of the other forms of a network."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from support.bundles import tiny_spec

from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.report.manifest import manifest_view


def shown(spec) -> str:
    console = Console(width=200, record=True)
    bundle = LoadedBundle(directory=Path("tiny"), spec=spec, sha256="0" * 64)
    with console.capture() as captured:
        console.print(manifest_view(bundle))
    return captured.get()


def test_half_precision_is_shown_with_its_figures_and_where_they_come_from() -> None:
    spec = tiny_spec()
    form = spec.networks["detector"].forms.add(precision="fp16", file="d.fp16.onnx")
    form.kept_fp32.add(node="n", operator="Exp", reason="range")
    form.parity.compared = "float16 emulated in float32"
    form.parity.outputs.add(output="scores", measured_max_abs=0.02, tolerance_abs=0.16)
    text = shown(spec)
    assert "detector fp16" in text
    assert "scores 2.0e-02 <= 0.16; 1 nodes in fp32" in text
    assert "float16 emulated in float32" in text
    assert "classifier fp16" not in text


def test_operators_notes_and_the_split_are_shown() -> None:
    spec = tiny_spec()
    network = spec.networks["detector"]
    network.operators.append("RoiAlign")
    network.split.max_proposals = 1000
    spec.provenance.checkpoints.add(
        role="detector", source="a.pkl", style="detectron2", notes=["pixel mean [1.0]"]
    )
    text = shown(spec)
    assert "detector needs" in text
    assert "RoiAlign" in text
    assert "a.pkl (detectron2); pixel mean [1.0]" in text
    assert "suppressed by the host" in text


def test_what_an_approximation_changed_is_shown() -> None:
    spec = tiny_spec()
    assert "approximates" not in shown(spec)
    spec.networks["detector"].deviations.add(
        option="roi_sampling",
        default_value="0",
        used_value="2",
        findings=12,
        lost=1,
        boxes_max_px=1.25,
        boxes_mean_px=0.125,
        scores_max=0.02,
        scores_mean=0.002,
        decision_flips=1,
    )
    text = shown(spec)
    assert "detector approximates" in text
    assert "roi_sampling = 2 instead of 0: boxes 1.2 px (mean 0.12), " in text
    assert "scores 0.02 (mean 0.002), 1 of 12 findings lost, 0 invented" in text
    assert "1 decision flip" in text
