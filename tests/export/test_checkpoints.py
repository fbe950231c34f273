"""Reading files that others wrote, and fitting them strictly."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.small_networks import (
    DENSENET,
    SMALL,
    batch,
    fixed_canvas,
    golden_frames,
    grey_input,
    small_densenet,
)
from torch import Tensor

from spinert.export.checkpoints.mapping import (
    load_strictly,
    own_keys,
    own_tensors,
    style_from_tensors,
)
from spinert.export.checkpoints.reader import read_checkpoint, read_tensors
from spinert.export.checkpoints.style import Style
from spinert.export.errors import CheckpointError
from spinert.export.families.densenet import (
    TORCHVISION_DENSENET,
    TORCHVISION_DENSENET_OLD,
    VINDR_DENSENET,
)
from spinert.export.families.sparse_rcnn import SPARSERCNN
from spinert.export.networks.densenet import DenseNet

STYLES = SMALL["small_densenet"].styles


@pytest.fixture(scope="module")
def network() -> DenseNet:
    return small_densenet(golden_frames(fixed_canvas()), final_relu=False)


def spelled(network: torch.nn.Module, style: Style) -> dict[str, Tensor]:
    state = network.state_dict()
    return {style.source_key(key): state[key].clone() for key in own_keys(network)}


def saved(folder: Path, content: object, name: str = "model.pth") -> Path:
    path = folder / name
    torch.save(content, path)
    return path


def with_tensors(content: object) -> object:
    """Return containers in which numbers have become tensors."""
    if isinstance(content, dict):
        return {key: with_tensors(value) for key, value in content.items()}
    return torch.tensor(content)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(tmp_path, protocol) -> None:
    trap = tmp_path / "executed"
    content = {"model": {"weight": torch.zeros(1)}, "extra": Payload(trap)}
    path = tmp_path / "hostile.pth"
    torch.save(content, path, pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match="refused unexecuted"):
        read_tensors(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "the payload is harmless: this test proves nothing"


def test_a_bare_hostile_pickle_runs_nothing(tmp_path) -> None:
    trap = tmp_path / "executed"
    path = tmp_path / "hostile.pt"
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(CheckpointError):
        read_tensors(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02garbage"])
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_a_damaged_file_is_named_without_foreign_text(
    tmp_path, content, suffix
) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^broken.*(copy it again|refused)"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        read_tensors(tmp_path / "absent.pth")


def test_numpy_scalars_and_arguments_may_stand_beside_the_weights(tmp_path) -> None:
    content = {
        "model_state_dict": {"weight": torch.ones(2)},
        "threshold": np.float32(0.28),
        "best": np.float64(0.9),
        "epoch": np.int64(3),
        "args": argparse.Namespace(lr=0.1, name="run"),
    }
    assert read_tensors(saved(tmp_path, content))["weight"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "iteration": 9, "optimizer": {"state": {}}},
        lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict_ema": OrderedDict(state)},
        lambda state: {"module.model." + k: v for k, v in state.items()},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(tmp_path, wrap) -> None:
    state = {"a.weight": torch.ones(2), "b.bias": torch.zeros(1)}
    assert set(read_tensors(saved(tmp_path, wrap(state)))) == set(state)


def test_of_two_state_dicts_one_must_be_chosen(tmp_path) -> None:
    content = {
        "state_dict": {"w": torch.zeros(1)},
        "state_dict_ema": {"w": torch.ones(1)},
    }
    path = saved(tmp_path, content)
    with pytest.raises(CheckpointError, match="choose with wrapper"):
        read_tensors(path)
    assert read_tensors(path, "state_dict_ema")["w"].item() == 1


@pytest.mark.parametrize(
    ("content", "wrapper", "taken"),
    [
        ({"w": 0}, None, ()),
        ({"state_dict": {"w": 0}}, None, ("state_dict",)),
        ({"state_dict": {"w": 0}}, "state_dict", ("state_dict",)),
        ({"state_dict": {"w": 1}, "state_dict_ema": {"w": 0}}, "state_dict_ema", None),
        ({"model": {"state_dict": {"w": 0}}}, "state_dict", ("model", "state_dict")),
        ({"model": {"state_dict": {"w": 0}}}, "model", ("model", "state_dict")),
    ],
)
def test_the_wrappers_that_were_taken_are_told(
    tmp_path, content, wrapper, taken
) -> None:
    found = read_checkpoint(saved(tmp_path, with_tensors(content)), wrapper)
    assert found.tensors["w"].item() == 0
    assert found.wrappers == ((wrapper,) if taken is None else taken)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"w": 0}, "holds no state_dict_ema, the weights lie in it bare; remove"),
        ({"state_dict": {"w": 0}}, "holds no state_dict_ema, only state_dict; remove"),
        ({"model": {"state_dict": {"w": 0}}}, "only model, state_dict; remove wrapper"),
        ({"model": {"w": 0}, "state_dict": {"w": 1}}, "under model, state_dict; choos"),
        ({"state_dict": {"w": 0}, "state_dict_ema": [1]}, "only state_dict; remove"),
    ],
)
def test_other_weights_than_those_of_the_wrapper_are_never_taken(
    tmp_path, content, told
) -> None:
    path = saved(tmp_path, with_tensors(content))
    with pytest.raises(CheckpointError, match=rf"^model\.pth: .*{told}"):
        read_checkpoint(path, "state_dict_ema")


def test_a_torchscript_program_is_told_from_a_damaged_file(tmp_path) -> None:
    program, damaged = tmp_path / "model.pt", tmp_path / "damaged.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on what becomes of TorchScript
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), program)
    told = r"^model\.pt: a TorchScript program, .*save the state_dict\(\)"
    with pytest.raises(CheckpointError, match=told):
        read_tensors(program)
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="copy it again"):
        read_tensors(damaged)


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"model": {"w": 3.0}}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content) -> None:
    with pytest.raises(CheckpointError, match="state dict"):
        read_tensors(saved(tmp_path, content))


def test_safetensors_are_read(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.arange(3.0)}, path)
    assert read_tensors(path)["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("style", "key"),
    [
        (VINDR_DENSENET, "backbone.block2.denselayer1.conv2.weight"),
        (TORCHVISION_DENSENET, "features.denseblock2.denselayer1.conv2.weight"),
        (TORCHVISION_DENSENET_OLD, "features.denseblock2.denselayer1.conv.2.weight"),
    ],
)
def test_each_style_is_recognised_and_loads_the_same_network(
    network, style, key
) -> None:
    tensors = spelled(network, style)
    assert key in tensors
    assert style_from_tensors(tensors, STYLES, "file") is style
    tensors[f"{key.removesuffix('.weight')}.num_batches_tracked"] = torch.tensor(1)
    other = DenseNet(DENSENET, final_relu=False).eval()
    load_strictly(other, own_tensors(tensors, other, style, "file"), style, "file")
    x = grey_input()(*batch(golden_frames(fixed_canvas())))
    with torch.no_grad():
        assert torch.equal(other(x), network(x))


def test_key_styles_carry_the_final_relu() -> None:
    relu = {style.name: style.options["final_relu"] for style in STYLES}
    assert relu == {"vindr": False, "torchvision": True, "torchvision_old": True}


def test_a_foreign_layout_is_refused_with_the_known_ones() -> None:
    tensors = {"conv_stem.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"conv_stem.*vindr.*torchvision"):
        style_from_tensors(tensors, STYLES, "file")


def test_missing_and_unexpected_keys_are_one_error_that_names_them(network) -> None:
    tensors = spelled(network, TORCHVISION_DENSENET)
    del tensors["features.conv0.weight"]
    tensors["aux.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        own_tensors(tensors, network, TORCHVISION_DENSENET, "mine.pth")
    message = str(caught.value)
    assert message.startswith("mine.pth")
    assert "missing features.conv0.weight" in message
    assert "unexpected aux.weight" in message
    assert "\n" not in message


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_one_key_too_few_or_too_many_is_refused(network, change) -> None:
    tensors = spelled(network, VINDR_DENSENET)
    if change == "missing":
        del tensors["backbone.norm5.bias"]
    else:
        tensors["backbone.norm6.bias"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=rf": {change} backbone\.norm\d\.bias;"):
        own_tensors(tensors, network, VINDR_DENSENET, "mine.pth")


def test_a_wrong_shape_is_named_with_both_shapes(network) -> None:
    tensors = spelled(network, VINDR_DENSENET)
    tensors["backbone.norm5.bias"] = torch.zeros(3)
    own = own_tensors(tensors, network, VINDR_DENSENET, "mine.pth")
    with pytest.raises(CheckpointError, match=r"norm5\.bias \(3,\), not \(\d+,\)"):
        load_strictly(network, own, VINDR_DENSENET, "mine.pth")


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_nan_and_infinity_in_weights_are_refused(network, poison) -> None:
    own = spelled(network, VINDR_DENSENET)
    own["head.heads.0.weight"][0, 3] = poison
    with pytest.raises(CheckpointError, match=r"NaN or infinity in head\.heads\.0"):
        load_strictly(network, own, VINDR_DENSENET, "mine.pth")


def test_a_refused_checkpoint_leaves_the_network_as_it_was(network) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    own = {key: value + 1 for key, value in spelled(network, VINDR_DENSENET).items()}
    own["head.heads.0.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError):
        load_strictly(network, own, VINDR_DENSENET, "mine.pth")
    after = network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_two_label_head_becomes_the_logit_of_its_softmax(network) -> None:
    own = spelled(network, VINDR_DENSENET)
    features = DENSENET.features
    generator = torch.Generator().manual_seed(3)
    own["head.heads.0.weight"] = torch.randn((2, features), generator=generator)
    own["head.heads.0.bias"] = torch.tensor([0.5, -0.25])
    x = torch.randn((4, features), generator=generator)
    both = x @ own["head.heads.0.weight"].T + own["head.heads.0.bias"]
    one = SMALL["small_densenet"].adapt(own)
    logit = x @ one["head.heads.0.weight"].T + one["head.heads.0.bias"]
    assert logit.shape == (4, 1)
    torch.testing.assert_close(torch.sigmoid(logit[:, 0]), both.softmax(dim=1)[:, 1])


def test_a_detector_with_other_classes_is_refused_by_its_logits() -> None:
    architecture = SMALL["small_sparse_rcnn"]
    coco = architecture.build(architecture.options, 80)
    ours = architecture.build(architecture.options, 7)
    own = own_tensors(spelled(coco, SPARSERCNN), ours, SPARSERCNN, "coco.pth")
    with pytest.raises(CheckpointError, match=r"class_logits.*number of classes"):
        load_strictly(ours, own, SPARSERCNN, "coco.pth")
