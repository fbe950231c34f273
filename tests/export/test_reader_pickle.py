"""Pickles of arrays, as detectron2's model zoo has them, and what hides in others."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from spinert.export.checkpoints.pickled_values import RefusedPickle
from spinert.export.checkpoints.reader import read_tensors
from spinert.export.checkpoints.restricted_pickle import content_from_pickle
from spinert.export.errors import CheckpointError

WEIGHTS = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "half": np.array([0.5, -2.0], dtype=np.float16),
    "counter": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 4), dtype=np.float32),
    "mask": np.array([True, False]),
}


def read(data: bytes) -> object:
    return content_from_pickle(io.BytesIO(data), len(data))


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model_final.pkl"
    path.write_bytes(data)
    return path


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def called(module: str, name: str, arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + arguments + b"R"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_zoo_layout_is_read_in_every_protocol(tmp_path, protocol) -> None:
    content = {
        "model": WEIGHTS,
        "__author__": "Detectron2 Model Zoo",
        "matching_heuristics": True,
    }
    path = written(tmp_path, pickle.dumps(content, protocol))
    tensors = read_tensors(path)
    assert set(tensors) == set(WEIGHTS)
    for key, expected in WEIGHTS.items():
        assert_array_equal(tensors[key].numpy(), expected)
        assert tensors[key].numpy().dtype == expected.dtype.newbyteorder("=")
        tensors[key].zero_()  # the network's own memory, not a view of the file


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_containers_and_numbers_come_back_as_they_were(protocol) -> None:
    content = {
        "text": "naïve",
        "raw": b"\x00\xff",
        "none": b"",
        "numbers": [1, -(2**40), 2**70, 0.25, True, None],
        "tuple": (1, (2, ()), [3]),
        "order": OrderedDict(a=1, b=OrderedDict()),
        "scalar": np.float32(0.28),
        "twice": [WEIGHTS["half"]] * 2,
    }
    found = read(pickle.dumps(content, protocol))
    assert found["scalar"] == pytest.approx(0.28)
    for value in found.pop("twice"):
        assert_array_equal(value, WEIGHTS["half"])
    del found["scalar"], content["scalar"], content["twice"]
    assert found == content


def test_text_pickles_of_protocol_0_are_read_where_they_hold_text_only() -> None:
    content = {"a": [1, 2.5, None, True, (3, "x")]}
    assert read(pickle.dumps(content, 0)) == content


def test_arrays_of_python_2_are_read() -> None:
    values = np.array([1.5, -0.25], dtype="<f4")
    raw = values.tobytes()
    dtype = called("numpy", "dtype", b"(U\x02f4K\x00K\x01t")
    dtype += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    head = b"(cnumpy\nndarray\nK\x00\x85U\x01bt"
    array = called("numpy.core.multiarray", "_reconstruct", head)
    state = b"(K\x01K\x02\x85" + dtype + b"\x89U" + bytes([len(raw)]) + raw + b"tb"
    found = read(b"\x80\x02}U\x01w" + array + state + b"s.")
    assert_array_equal(found["w"], values)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, protocol) -> None:
    trap = tmp_path / "executed"
    data = pickle.dumps({"model": WEIGHTS, "x": Payload(trap)}, protocol)
    with pytest.raises(CheckpointError, match=r"^model_final\.pkl: .*unexecuted"):
        read_tensors(written(tmp_path, data))
    assert not trap.exists()
    pickle.loads(data)
    assert trap.exists(), "the payload is harmless: this test proves nothing"


NAMES = {
    "os.system": (os.system, "posix.system"),
    "eval": (builtins.eval, "builtins.eval"),
    "getattr": (getattr, "builtins.getattr"),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_refused_name_is_shown(tmp_path, name) -> None:
    function, shown = NAMES[name]

    class Call:
        def __reduce__(self):
            return (function, ("1",))

    with pytest.raises(CheckpointError, match=rf"\({shown}\)"):
        read_tensors(written(tmp_path, pickle.dumps(Call(), 4)))


NDARRAY = b"cnumpy\nndarray\n"
F4 = called("numpy", "dtype", text("f4") + b"\x89\x88\x87")
HOSTILE = {
    "a call of ndarray": (NDARRAY + b"(K\x09K\x09t\x85R", "call of numpy.ndarray"),
    "a new object": (NDARRAY + b")\x81", "object of a class"),
    "a call of text": (text("os.system") + text("true") + b"\x85R", "call of a value"),
    "attributes of a function": (b"c_codecs\nencode\n}b", "with attributes"),
    "attributes of a dictionary": (b"}}b", "with attributes"),
    "a name made of text": (text("os") + text("system") + b"\x93", r"os\.system"),
    "a name of two lines": (text("os") + text("sys\ntem") + b"\x93", "something"),
    "a persistent object": (b"Pid\n", "object of a class"),
    "an extension": (b"\x82\x01", "object of a class"),
    "an instance": (b"(iposix\nsystem\n", "object of a class"),
    "objects as elements": (
        called("numpy", "dtype", text("O8") + b"\x89\x88\x87"),
        "other than numbers",
    ),
    "records as elements": (
        F4 + b"(K\x03" + text("<") + b"N(" + text("a") + b"tNtb",
        "other than numbers",
    ),
    "a key to be hashed deeply": (
        b"})" + b"\x85" * 100 + b"K\x01s",
        "keys are not plain",
    ),
    "another function of numpy": (b"cnumpy\nload\n", r"numpy\.load"),
    "another codec": (
        called("_codecs", "encode", text("x") + text("zlib") + b"\x86"),
        "copy it again",
    ),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_but_data_passes(tmp_path, hostile) -> None:
    body, reason = HOSTILE[hostile]
    path = written(tmp_path, b"\x80\x02" + body + b".")
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith("model_final.pkl: ")
    assert "\n" not in message


def test_the_pieces_of_the_hostile_pickles_work_alone() -> None:
    order = text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    dtype = F4 + b"(K\x03" + order
    value = called("numpy.core.multiarray", "scalar", dtype + b"C\x04\0\0\x80?\x86")
    assert read(b"\x80\x03" + value + b".") == 1.0
    encoded = called("_codecs", "encode", text("é") + text("latin1") + b"\x86")
    assert read(b"\x80\x02" + encoded + b".") == b"\xe9"


@pytest.mark.parametrize(
    "shape", [b"J\xff\xff\xff\x7f\x85", b"(J\xff\xff\xff\x7fK\x00t"]
)
def test_an_announced_size_is_not_allocated(shape) -> None:
    head = NDARRAY + shape + b"C\x01b\x87"
    array = called("numpy.core.multiarray", "_reconstruct", head)
    state = b"(K\x01" + shape + F4 + b"\x89C\x04\0\0\0\0tb"
    tracemalloc.start()
    with pytest.raises(ValueError, match="disagree"):
        read(b"\x80\x03" + array + state + b".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_shape_of_text_is_not_multiplied() -> None:
    shape = text("much") + struct.pack("<cI", b"J", 2**26) + b"\x86"
    head = NDARRAY + shape + b"C\x01b\x87"
    array = called("numpy.core.multiarray", "_reconstruct", head)
    state = b"(K\x01" + shape + F4 + b"\x89C\x04\0\0\0\0tb"
    tracemalloc.start()
    with pytest.raises(ValueError, match="not a shape"):
        read(b"\x80\x03" + array + state + b".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_one_buffer_cannot_become_arrays_without_end(tmp_path) -> None:
    raw = bytes(2**16)
    buffer = b"B" + struct.pack("<I", len(raw)) + raw + b"q\x00"
    dtype = F4 + b"q\x01"
    head = b"\x80\x03](" + buffer + dtype
    shape = struct.pack("<i", len(raw) // 4)
    one = called(
        "numpy.core.numeric",
        "_frombuffer",
        b"(h\x00h\x01J" + shape + b"\x85" + text("C") + b"t",
    )
    assert len(read(head + one * 2 + b"e.")) == 4
    with pytest.raises(RefusedPickle, match="larger than the file"):
        read(head + one * 5 + b"e.")


@pytest.mark.parametrize(
    "bomb",
    [
        b"r\xff\xff\xff\xff",  # a place in the memo far away
        b"\x8e" + b"\xff" * 7 + b"\x0f",  # bytes of a length beyond the file
        b"\x8b\xff\xff\xff\x7f",  # a number of two billion bytes
    ],
)
def test_lengths_of_a_damaged_file_cost_no_memory(bomb) -> None:
    tracemalloc.start()
    with contextlib.suppress(ValueError):
        read(b"\x80\x04N" + bomb + b".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("open_", [b"]", b"\x85", b"(l"])
def test_deep_nesting_ends_in_one_line(tmp_path, open_) -> None:
    close = b"a" if open_ == b"]" else b""
    body = b"]" * 100_000 + b"a" * 99_999 if close else b"N" + open_ * 100_000
    with pytest.raises(CheckpointError):
        read_tensors(written(tmp_path, b"\x80\x02" + body + b"."))


def test_a_file_that_wraps_itself_ends_in_one_line(tmp_path) -> None:
    loop: dict[str, object] = {}
    loop["model"] = loop
    with pytest.raises(CheckpointError, match="state dict"):
        read_tensors(written(tmp_path, pickle.dumps(loop)))


def test_half_a_file_is_damaged_wherever_it_ends(tmp_path) -> None:
    data = pickle.dumps({"model": WEIGHTS}, 4)
    for end in range(0, len(data), 7):
        with pytest.raises(CheckpointError, match="copy it again"):
            read_tensors(written(tmp_path, data[:end]))
