"""`make gpu-bench`: what can be tried of it without a GPU."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from support.small_networks import SMALL, write_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(small_bundle):
    """Return the recipe of the small bundle."""
    return write_recipe(small_bundle.parent)


def test_make_calls_the_benchmark_as_it_can_be_called(program):
    told = subprocess.run(
        ["make", "-n", "gpu-bench"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = (line for line in told.stdout.splitlines() if "gpu_bench.py" in line)
    words = shlex.split(line)
    arguments = program("gpu_bench").parser().parse_args(words[2:])
    assert (ROOT / arguments.recipe).is_file()
    (export,) = (line for line in told.stdout.splitlines() if "spinert export" in line)
    assert shlex.split(export)[2] == str(arguments.recipe)
    assert shlex.split(export)[-1] == str(arguments.bundle)


@pytest.mark.parametrize(
    ("name", "gpu", "file"),
    [
        (None, "NVIDIA H200", "gpu-nvidia-h200.json"),
        (None, "NVIDIA RTX A6000 (MIG 1g.5gb)", "gpu-nvidia-rtx-a6000-mig-1g-5gb.json"),
        ("Mine", "NVIDIA H200", "gpu-mine.json"),
    ],
)
def test_results_are_named_after_the_gpu(program, tmp_path, name, gpu, file):
    arguments = Namespace(name=name, output=tmp_path)
    path = program("gpu_bench").result_path(arguments, {"gpu": gpu})
    assert path == tmp_path / file


def test_networks_and_frames_are_compared_and_right(
    program, small_bundle, recipe, monkeypatch, tmp_path
):
    bench, sides = program("gpu_bench"), program("gpu_sides")
    monkeypatch.setattr(program("gpu_work"), "ROUND_S", 0.0)
    graphs = sides.networks_from_recipe(recipe, SMALL)
    monkeypatch.setattr(bench, "networks_from_recipe", lambda _: graphs)
    words = ["--bundle", str(small_bundle), "--recipe", str(recipe), "--device", "cpu"]
    words += ["--backend", "onnxruntime", "--name", "trial"]
    words += ["--batch", "1", "3", "--no-compile", "--rounds", "2"]
    monkeypatch.setattr(
        sys, "argv", ["gpu_bench.py", *words, "--output", str(tmp_path)]
    )
    bench.main()
    results = json.loads((tmp_path / "gpu-trial.json").read_text())
    assert results["precision_text"] == "FP16, emulated on CPU"
    measured = results["measured"]
    assert set(measured) == {"classifier", "detector", "classifier+detector", "frames"}
    for sizes in measured.values():
        assert set(sizes) == {"1", "3"}
        for found in sizes.values():
            assert found["eager_over_ours"]["rounds"] == 2
            for side in ("ours", "eager"):
                gaps = found[side]["largest_difference_from_fp32"]
                assert gaps
                assert max(gaps.values()) < 0.05


def test_a_side_with_other_answers_is_not_measured(program):
    work = program("gpu_work")
    with pytest.raises(SystemExit, match=r"classifier\.logits is 0\.3 from the FP32"):
        work.require_close({"classifier.logits": 0.3})
    work.require_close({"verdict.abnormal_probability": 0.01})


def test_weights_of_convolutions_and_products_are_halves(program, recipe):
    sides = program("gpu_sides")
    graphs = sides.networks_from_recipe(recipe, SMALL)
    sides.PyTorch(graphs, "cpu", "", "fp16")
    for graph in graphs.values():
        kinds = {
            type(part).__name__: part.weight.dtype
            for part in graph.module.modules()
            if isinstance(part, torch.nn.Conv2d | torch.nn.Linear | torch.nn.LayerNorm)
        }
        assert kinds["Conv2d"] == torch.float16
        assert kinds.get("LayerNorm", torch.float32) == torch.float32
