"""ONNX files that must not be trusted, and old ones that can still be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_files import FLOAT, FileBuilder, yolo_file

from spinert.export.errors import CheckpointError, GraphError
from spinert.export.onnx_import import external_data
from spinert.export.onnx_import.reading import model_from_file

SECRET = b"weights of somebody else" * 100


def external_file(folder: Path, location: str, **entries: str) -> Path:
    """Write a model with one weight (4,) in another file."""
    weight = TensorProto(name="w", data_type=FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=value)
    return one_weight_file(folder / "model.onnx", weight)


def one_weight_file(path: Path, weight: TensorProto) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], name="add")],
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
        [weight],
    )
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def weights(folder: Path, name: str = "weights.bin") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.arange(8, dtype=np.float32).tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "entries", "first"),
    [
        ("weights.bin", {"length": "16"}, 0),
        ("weights.bin", {"offset": "16"}, 4),
        ("data/weights.bin", {"offset": "4", "length": "16"}, 1),
    ],
)
def test_external_data_beside_the_file_are_taken_in(
    tmp_path, name, entries, first
) -> None:
    weights(tmp_path, name)
    read = model_from_file(external_file(tmp_path, name, **entries))
    (tensor,) = read.model.graph.initializer
    assert numpy_helper.to_array(tensor).tolist() == [first + n for n in range(4)]
    assert not tensor.external_data
    assert read.notes == (f"external data {name} were taken in",)
    session = onnxruntime.InferenceSession(
        read.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.run(None, {"x": np.zeros((1, 4), np.float32)})[0][0, 0] == first


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "data/../../secret.bin", "..\\secret.bin", "C:\\secret.bin", ""],
)
def test_external_data_outside_the_folder_are_refused(tmp_path, location) -> None:
    (tmp_path / "secret.bin").write_bytes(SECRET)
    folder = tmp_path / "inner"
    (folder / "data").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="outside the folder of the ONNX file"):
        model_from_file(external_file(folder, location))


def test_an_absolute_location_is_refused(tmp_path) -> None:
    secret = weights(tmp_path, "secret.bin")
    path = external_file(tmp_path, str(secret), length="16")
    with pytest.raises(CheckpointError, match=r"model\.onnx: .*'w' is outside"):
        model_from_file(path)


@pytest.mark.parametrize("link", ["symbolic", "hard", "folder"])
def test_a_link_is_refused(tmp_path, link) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    secret = weights(tmp_path / "outside", "weights.bin")
    location = "weights.bin"
    if link == "symbolic":
        (folder / location).symlink_to(secret)
    elif link == "hard":
        os.link(secret, folder / location)
    else:
        (folder / "data").symlink_to(secret.parent, target_is_directory=True)
        location = "data/weights.bin"
    with pytest.raises(CheckpointError, match=r"model\.onnx: .* is a link; put"):
        model_from_file(external_file(folder, location, length="16"))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "32", "length": "16"}, "cut off"),
        ({"length": "33"}, "cut off"),
        ({"offset": "-4", "length": "16"}, "no valid place"),
        ({"length": "9" * 30}, "no valid place"),
    ],
)
def test_a_place_outside_the_data_is_refused(tmp_path, entries, message) -> None:
    weights(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        model_from_file(external_file(tmp_path, "weights.bin", **entries))


def test_one_large_file_cannot_become_tensors_without_end(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(external_data, "_MAX_BYTES", 40)
    weights(tmp_path)
    model = onnx.load(external_file(tmp_path, "weights.bin"), load_external_data=False)
    one, two = onnx.ModelProto(), onnx.ModelProto()
    one.CopyFrom(model)
    two.CopyFrom(model)
    two.graph.initializer.append(model.graph.initializer[0])
    assert external_data.embedded(one, tmp_path, "model.onnx") == ("weights.bin",)
    with pytest.raises(CheckpointError, match="larger than 2 GiB"):
        external_data.embedded(two, tmp_path, "model.onnx")


def test_missing_external_data_are_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"'absent\.bin' .*cannot be read"):
        model_from_file(external_file(tmp_path, "absent.bin"))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_in_place_of_data(tmp_path, make) -> None:
    make(tmp_path / "data")
    with pytest.raises(CheckpointError, match="is no regular file"):
        model_from_file(external_file(tmp_path, "data"))


def test_external_data_are_found_wherever_a_tensor_can_be(tmp_path) -> None:
    weight = TensorProto(name="t", data_type=FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret.bin")
    constant = helper.make_node("Constant", [], ["y"], value=weight)
    output = helper.make_tensor_value_info("y", FLOAT, [4])
    inner = helper.make_graph([constant], "inner", [], [output])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    outer = helper.make_graph([branch], "outer", [condition], [output])
    path = tmp_path / "nested.onnx"
    path.write_bytes(helper.make_model(outer).SerializeToString())
    with pytest.raises(CheckpointError, match="outside the folder"):
        model_from_file(path)


def custom_file(path: Path, domain: str) -> Path:
    node = helper.make_node("Gelu", ["x"], ["y"], name="layer.3", domain=domain)
    value = [helper.make_tensor_value_info(n, FLOAT, ["n", 4]) for n in "xy"]
    graph = helper.make_graph([node], "test", value[:1], value[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    model = helper.make_model(graph, opset_imports=imports)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "my.plugins"])
def test_a_custom_operator_is_named_with_its_node(tmp_path, domain) -> None:
    path = custom_file(tmp_path / "custom.onnx", domain)
    with pytest.raises(GraphError, match=rf"'layer\.3' .* {domain}\.Gelu; export"):
        model_from_file(path)


def test_functions_of_the_file_itself_are_taken_apart(tmp_path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("local", "Block", ["a"], ["b"], body, imports[:1])
    node = helper.make_node("Block", ["x"], ["y"], domain="local")
    value = [helper.make_tensor_value_info(n, FLOAT, ["n", 4]) for n in "xy"]
    graph = helper.make_graph([node], "test", value[:1], value[1:])
    model = helper.make_model(
        graph, opset_imports=imports, functions=[function], ir_version=8
    )
    path = tmp_path / "functions.onnx"
    path.write_bytes(model.SerializeToString())
    found = model_from_file(path).model
    assert [node.op_type for node in found.graph.node] == ["Relu"]
    assert not found.functions


def test_an_old_opset_is_converted_and_said_so(tmp_path) -> None:
    path = yolo_file(tmp_path / "old.onnx", opset=11)
    read = model_from_file(path)
    assert read.opset == 18
    assert read.notes == ("opset 11 was converted to 18",)
    image = np.random.default_rng(1).random((2, 3, 32, 64), dtype=np.float32)
    answers = [
        onnxruntime.InferenceSession(m, providers=["CPUExecutionProvider"]).run(
            None, {"images": image}
        )[0]
        for m in (path.read_bytes(), read.model.SerializeToString())
    ]
    np.testing.assert_allclose(*answers, atol=1e-6)


def test_a_recent_opset_is_left_alone(tmp_path) -> None:
    read = model_from_file(yolo_file(tmp_path / "new.onnx", opset=17))
    assert (read.opset, read.notes) == (17, ())


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_damaged_file_is_named(tmp_path, size) -> None:
    whole = yolo_file(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "half.onnx"
    path.write_bytes(whole[: size if size >= 0 else len(whole) - 5])
    with pytest.raises(CheckpointError, match=r"^half\.onnx: .*copy it again$"):
        model_from_file(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.onnx: no such file"):
        model_from_file(tmp_path / "absent.onnx")


def test_a_graph_that_breaks_the_standard_is_refused(tmp_path) -> None:
    builder = FileBuilder()
    builder.call(builder.add("Add", "x", "nowhere"), "y")
    axes = ["n", 4]
    path = builder.save(
        tmp_path / "broken.onnx", [("x", FLOAT, axes)], [("y", FLOAT, axes)]
    )
    with pytest.raises(GraphError, match=r"broken\.onnx: breaks the ONNX standard"):
        model_from_file(path)


def test_the_file_itself_is_not_changed(tmp_path) -> None:
    weights(tmp_path)
    path = external_file(tmp_path, "weights.bin", length="16")
    before = path.read_bytes()
    model_from_file(path)
    assert path.read_bytes() == before
    assert onnx.load(path, load_external_data=False).graph.initializer[0].external_data
