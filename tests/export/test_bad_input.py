"""`spinert export` on what it must refuse: one line, exit code 2, nothing left."""

from __future__ import annotations

import math
import os
import pickle
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from spinert.cli import cli, main
from spinert.export.architectures import ARCHITECTURES
from spinert.export.checkpoints.mapping import own_keys

RECIPE = """
name = "bad"
version = "1"
preset = "vindr"
[[classifier]]
architecture = "densenet121"
checkpoint = "untrained:1"
[detector]
architecture = "{architecture}"
checkpoint = "{file}"
"""


@cache
def weights(name: str, style_name: str, classes: int = 7) -> dict[str, Tensor]:
    """Return a full-size state dict whose values are one zero in memory."""
    architecture = ARCHITECTURES[name]
    (style,) = (s for s in architecture.styles if s.name == style_name)
    with torch.device("meta"):
        options = {**architecture.options, **style.options}
        network = architecture.build(options, classes)
    state, zero = network.state_dict(), torch.zeros(())
    return {
        style.source_key(key): zero.expand(state[key].shape)
        for key in own_keys(network)
    }


def retinanet(path: Path) -> None:
    torch.save(weights("retinanet_r50_fpn", "torchvision"), path)


def half_of_it(path: Path) -> None:
    retinanet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def not_a_number(path: Path) -> None:
    tensors = dict(weights("retinanet_r50_fpn", "torchvision"))
    key = "head.classification_head.cls_logits.bias"
    tensors[key] = torch.full(tensors[key].shape, torch.nan)
    torch.save(tensors, path)


def statistics(**values: object) -> Callable[[Path], None]:
    """Write a file of detectron2 before 2021 with these buffers."""

    def write(path: Path) -> None:
        buffers = {key: torch.tensor(value) for key, value in values.items()}
        torch.save({**weights("retinanet_r50_fpn", "detectron2"), **buffers}, path)

    return write


def without_average(path: Path) -> None:
    torch.save({"state_dict": weights("retinanet_r50_fpn", "torchvision")}, path)


def program(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on what becomes of TorchScript
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), path)


def ninety_classes(path: Path) -> None:
    torch.save(weights("retinanet_r50_fpn", "torchvision", 90), path)


def two_forms(path: Path) -> None:
    torch.save(weights("efficientdet_d4", "effdet"), path)


class Code:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": {"weight": Code()}}))


def graph(operator: str, domain: str = "") -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [None, 1, 64, 64])
    boxes = helper.make_tensor_value_info("boxes", TensorProto.UINT8, None)
    node = helper.make_node(
        operator, ["image", "weight"], ["boxes"], name="the_node", domain=domain
    )
    weight = helper.make_tensor("weight", TensorProto.UINT8, [4], bytes(4), raw=True)
    made = helper.make_graph([node], "g", [image], [boxes], [weight])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    return helper.make_model(made, opset_imports=opsets)


def unknown_operator(path: Path) -> None:
    onnx.save(graph("Magic", "mine"), path)


def poisoned(path: Path) -> None:
    kind, shape = TensorProto.FLOAT16, ["n", 3, 64, 64]
    values = helper.make_tensor("the_scale", kind, [64], [1.0] * 63 + [math.nan])
    node = helper.make_node("Mul", ["image", "the_scale"], ["boxes"])
    ports = [helper.make_tensor_value_info(n, kind, shape) for n in ("image", "boxes")]
    made = helper.make_graph([node], "g", ports[:1], ports[1:], [values])
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, opset_imports=opsets), path)


def outside(location: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        secret = path.parent.parent / "secret.bin"
        secret.write_bytes(bytes(64))
        model = graph("Add")
        (item,) = model.graph.initializer
        item.ClearField("raw_data")
        item.data_location = TensorProto.EXTERNAL
        place = {"absolute": str(secret), "parent": "../secret.bin"}
        name = place.get(location, "link.bin")
        item.external_data.add(key="location", value=name)
        if location == "symlink":
            (path.parent / name).symlink_to(secret)
        elif location == "hardlink":
            (path.parent / name).hardlink_to(secret)
        path.write_bytes(model.SerializeToString())

    return write


FASTER, RETINA, ONNX = "faster_rcnn_r50_fpn", "retinanet_r50_fpn", "onnx"
# Architecture, file, what writes it, and what its line has to name.
CASES = {
    "another architecture": (FASTER, "a.pth", retinanet, ("a.pth", RETINA)),
    "half a file": (RETINA, "a.pth", half_of_it, ("a.pth", "copy it again")),
    "an empty file": (RETINA, "a.pth", nothing, ("a.pth", "copy it again")),
    "no file": (RETINA, "a.pth", lambda _: None, ("a.pth", "no such file")),
    "NaN": (RETINA, "a.pth", not_a_number, ("a.pth", "cls_logits.bias", "NaN")),
    "NaN statistics": (
        RETINA,
        "a.pth",
        statistics(pixel_mean=[1.0, math.nan, 3.0]),
        ("a.pth: pixel_mean is NaN", "state bundle.networks.detector.input.mean"),
    ),
    "no deviation": (
        RETINA,
        "a.pth",
        statistics(pixel_mean=[1, 2, 3], pixel_std=[[[1.0]], [[0.0]], [[1.0]]]),
        ("a.pth: pixel_std is not above 0", "bundle.networks.detector.input.std"),
    ),
    "one channel": (
        RETINA,
        "a.pth",
        statistics(pixel_mean=[0.5]),
        ("a.pth: pixel_mean has 1 values, not one for each of 3 channels",),
    ),
    "another wrapper": (
        RETINA,
        'a.pth"\nwrapper = "state_dict_ema',
        without_average,
        ("a.pth: holds no state_dict_ema, only state_dict", "remove wrapper"),
    ),
    "TorchScript": (RETINA, "a.pt", program, ("a.pt: a TorchScript", "state_dict()")),
    "NaN in ONNX": (ONNX, "a.onnx", poisoned, ("a.onnx: NaN in", "'the_scale'")),
    "90 classes": (RETINA, "a.pth", ninety_classes, ("a.pth", "number of classes")),
    "two forms": ("efficientdet_d4", "a.pth", two_forms, ('style = "effdet"',)),
    "code in .pkl": (RETINA, "a.pkl", code, ("a.pkl", "unexecuted")),
    "code in .pth": (RETINA, "a.pth", code, ("a.pth", "unexecuted")),
    "an operator": (ONNX, "a.onnx", unknown_operator, ("a.onnx", "the_node", "Magic")),
    **{
        f"data by {kind}": (ONNX, "a.onnx", outside(kind), ("a.onnx", "weight"))
        for kind in ("absolute", "parent", "symlink", "hardlink")
    },
}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run `spinert export`, and return its one line."""
    with pytest.raises(SystemExit) as left:
        main(lambda: cli(["export", *words, "--no-cache"], standalone_mode=False))
    assert left.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    (line,) = lines
    return line


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_leaves_nothing(
    case, tmp_path, capsys, monkeypatch
) -> None:
    architecture, file, write, named = CASES[case]
    folder = tmp_path / "in"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write(folder / file.partition('"')[0])
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(architecture=architecture, file=file))
    before = sorted(tmp_path.rglob("*"))
    line = refused(capsys, str(recipe), "-o", str(tmp_path / "bundle"))
    assert line.startswith("error: ")
    for word in named:
        assert word in line
    assert sorted(tmp_path.rglob("*")) == before


# Detector, its options, and the end of the line.
OPTIONS = {
    "groups": (RETINA, "head_groups = 7", "0, or a divisor of 256 up to 128"),
    "scores": (RETINA, "top_k = 3841", "from 1 to 3840, the most that TensorRT's TopK"),
    "epsilon": (RETINA, "frozen_bn_eps = nan", "frozen_bn_eps = nan: from 0 to 0.1"),
    "sampling": (
        "sparse_rcnn_r50_fpn",
        "roi_sampling = 0",
        "sparse_rcnn_r50_fpn: options.roi_sampling = 0: from 1 to 16",
    ),
    "no boxes": (FASTER, "rpn_per_level = 0", "rpn_per_level = 0: from 1 to 3840"),
    "many boxes": (FASTER, "rpn_per_level = 3841", "= 3841: from 1 to 3840"),
    "proposals": (FASTER, "rpn_per_level = 100", "give 500; lower the one or raise"),
    "rounds": (FASTER, "nms_rounds = 0", "options.nms_rounds = 0: from 1 to 1000"),
    "shapes": ("efficientdet_d0", 'anchor_shapes = "1"', "e.g. 1x1 1.4x0.7"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_impossible_option_is_one_line_and_leaves_nothing(
    case, tmp_path, capsys
) -> None:
    architecture, options, told = OPTIONS[case]
    recipe = tmp_path / "recipe.toml"
    file = f'untrained:1"\noptions = {{ {options} }} #'
    recipe.write_text(RECIPE.format(architecture=architecture, file=file))
    line = refused(capsys, str(recipe), "-o", str(tmp_path / "bundle"))
    assert line.startswith(f"error: {architecture}: options.")
    assert told in line
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_a_wrapper_of_untrained_weights_is_not_ignored(tmp_path, capsys) -> None:
    recipe = tmp_path / "recipe.toml"
    file = 'untrained:1"\nwrapper = "model'
    recipe.write_text(RECIPE.format(architecture=RETINA, file=file))
    line = refused(capsys, str(recipe), "-o", str(tmp_path / "bundle"))
    assert line.endswith("untrained weights lie in no file; remove wrapper")


def test_a_place_below_a_file_is_one_line(tmp_path, capsys) -> None:
    recipe = tmp_path / "recipe.toml"
    text = RECIPE.format(architecture="sparse_rcnn_r50_fpn", file="untrained:2")
    recipe.write_text(text)
    line = refused(capsys, str(recipe), "-o", str(recipe / "bundle"))
    assert "bundle: cannot be written: " in line
    assert line.endswith("make room or name another directory")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]
