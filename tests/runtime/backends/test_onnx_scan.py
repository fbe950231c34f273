from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from support.graphs import classifier, detector

from spinert.runtime.backends.onnx_scan import _FIELDS, refuse_external_data
from spinert.runtime.errors import BackendUnavailable

NAMES = {
    "ModelProto": "Model",
    "TrainingInfoProto": "Training",
    "GraphProto": "Graph",
    "FunctionProto": "Function",
    "NodeProto": "Node",
    "AttributeProto": "Attribute",
    "SparseTensorProto": "SparseTensor",
    "TensorProto": "Tensor",
}


def scan(tmp_path, model):
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    refuse_external_data(path)


def holders_of_tensors():
    """Every (message, field, inner) of onnx.proto on a way to a TensorProto."""
    reached, found = {"TensorProto"}, set()
    messages = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name
    while True:
        more = {
            (message.name, field.number, field.message_type.name)
            for message in messages.values()
            for field in message.fields
            if field.message_type is not None and field.message_type.name in reached
        }
        if more == found:
            return found
        found = more
        reached |= {name for name, _, _ in more}


def test_every_place_for_a_tensor_in_the_onnx_schema_is_looked_at():
    expected = {(NAMES[m], n, NAMES[i]) for m, n, i in holders_of_tensors()}
    known = {(m, n, i) for m, inner in _FIELDS.items() for n, i in inner.items()}
    assert known == expected


def test_the_fields_that_point_outside_have_the_numbers_of_the_schema():
    fields = TensorProto.DESCRIPTOR.fields_by_name
    assert fields["external_data"].number == 13
    assert fields["data_location"].number == 14


@pytest.mark.parametrize("model", [classifier(), detector()])
def test_self_contained_models_pass(tmp_path, model):
    scan(tmp_path, model)


def outside():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def constant(attribute):
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.append(attribute)
    return node


def in_initializer(model):
    model.graph.initializer.append(outside())


def in_constant(model):
    model.graph.node.append(
        constant(AttributeProto(name="value", type=AttributeProto.TENSOR, t=outside()))
    )


def in_tensor_list(model):
    model.graph.node.append(constant(AttributeProto(name="v", tensors=[outside()])))


def in_subgraph(model):
    inner = onnx.GraphProto(initializer=[outside()])
    model.graph.node.append(
        helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner)
    )


def in_sparse_initializer(model):
    model.graph.sparse_initializer.add(values=outside())


def in_function(model):
    inner = constant(AttributeProto(name="value", t=outside()))
    model.functions.add(name="f", domain="d", node=[inner])


def in_training(model):
    model.training_info.add(algorithm=onnx.GraphProto(initializer=[outside()]))


def by_location_alone(model):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(tensor)


def by_path_alone(model):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "w")
    tensor.external_data.add(key="location", value="x")
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_constant,
        in_tensor_list,
        in_subgraph,
        in_sparse_initializer,
        in_function,
        in_training,
        by_location_alone,
        by_path_alone,
    ],
)
def test_external_data_is_found_wherever_it_hides(tmp_path, hide):
    model = classifier()
    hide(model)
    with pytest.raises(BackendUnavailable, match="one file"):
        scan(tmp_path, model)


def test_a_tensor_that_states_the_default_location_is_inside(tmp_path):
    model = classifier()
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    scan(tmp_path, model)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, kept):
    content = classifier().SerializeToString()
    path = tmp_path / "network.onnx"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BackendUnavailable, match="not a readable"):
        refuse_external_data(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BackendUnavailable, match=r"gone\.onnx"):
        refuse_external_data(tmp_path / "gone.onnx")


def nested(graphs):
    """Write that many graphs inside each other, byte by byte."""
    content = b""
    for key in [b"\x32", b"\x2a", b"\x0a"] * graphs:  # .g, .attribute, Graph.node
        content = key + varint(len(content)) + content
    return b"\x3a" + varint(len(content)) + content  # Model.graph


def varint(value):
    content = b""
    while value > 0x7F:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


@pytest.mark.parametrize(("graphs", "refused"), [(15, False), (10_000, True)])
def test_endless_nesting_is_refused(tmp_path, graphs, refused):
    path = tmp_path / "network.onnx"
    path.write_bytes(nested(graphs))
    if refused:
        with pytest.raises(BackendUnavailable, match="not a readable"):
            refuse_external_data(path)
    else:
        refuse_external_data(path)


def test_a_field_that_leaves_its_message_is_refused(tmp_path):
    path = tmp_path / "network.onnx"
    # Model.graph of two bytes, in which a field claims 50; the file is long enough.
    path.write_bytes(b"\x3a\x02" + b"\x0a\x32" + b"\x08\x01" * 40)
    with pytest.raises(BackendUnavailable, match="not a readable"):
        refuse_external_data(path)
