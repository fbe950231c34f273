"""What an engine takes and returns, read once from the engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays
from spinert.runtime.backends.contract import Tensor, broken_contract
from spinert.runtime.compiled.profiles import ShapeRange
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason

__all__ = ["Port", "Shape", "Signature", "profile_for", "signature_from_engine"]

Shape = tuple[int, ...]

# tensorrt.DataType member -> NumPy's type; the contract of bundle.proto has no other.
_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "FLOAT": "float32",
        "HALF": "float16",
        "INT32": "int32",
        "INT64": "int64",
        "UINT8": "uint8",
        "INT8": "int8",
        "BOOL": "bool",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """One input or output tensor of an engine."""

    name: str
    dtype: npt.DTypeLike
    shape: tuple[int | None, ...]
    """None stands for a size that varies; the first axis is the batch."""

    def nbytes(self, shape: Shape) -> int:
        """Return the size of one tensor of `shape`."""
        return int(np.prod(shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """All tensors of an engine, and the shapes each optimisation profile holds."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    profiles: tuple[Mapping[str, ShapeRange], ...]
    """Ranges by name of the input."""

    def largest(self, name: str) -> tuple[Shape, ...]:
        """Return the maximum of input `name` in each profile."""
        return tuple(profile[name].maximum for profile in self.profiles)

    def require(self, role: str, network: pb.Network) -> None:
        """Do nothing if this is the network that the bundle describes.

        Raises:
            BackendUnavailable: It is not; names the first difference.
        """
        inputs, outputs = _tensors(self.inputs), _tensors(self.outputs)
        if broken := broken_contract(network, inputs, outputs):
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"the engine of network {role!r} is not what the bundle describes: "
                f"{broken[0]}",
            )

    def shapes_of(self, role: str, inputs: Arrays) -> dict[str, Shape]:
        """Return the shape of every input of a batch.

        Raises:
            BackendError: An input is missing, unknown or of another type.
        """
        expected = {port.name: np.dtype(port.dtype) for port in self.inputs}
        given = {name: array.dtype for name, array in inputs.items()}
        if expected != given:
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {role!r} takes {_named(expected)}, not {_named(given)}",
            )
        return {name: inputs[name].shape for name in expected}


def profile_for(role: str, signature: Signature, shapes: Mapping[str, Shape]) -> int:
    """Return the index of the first profile that holds `shapes`.

    Raises:
        BackendError: None does.
    """
    for index, profile in enumerate(signature.profiles):
        if all(profile[name].holds(shape) for name, shape in shapes.items()):
            return index
    largest = max(signature.largest("image"))
    raise BackendError(
        Reason.NETWORK_FAILED,
        f"network {role!r} was compiled for inputs up to {_sizes(largest)}, not "
        f"{_sizes(shapes['image'])}; raise engine.max_batch or the largest image of "
        "[engines], and build again",
    )


def signature_from_engine(engine: Any) -> Signature:
    """Read the signature of a tensorrt.ICudaEngine.

    Raises:
        BackendUnavailable: It has a tensor of a type that no network has.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    outputs = [name for name in names if name not in inputs]
    # No closure over the engine where an error may pass: see lifetime.py.
    return Signature(
        inputs=tuple(map(_port, repeat(engine), inputs)),
        outputs=tuple(map(_port, repeat(engine), outputs)),
        profiles=tuple(
            {name: _range(engine, name, profile) for name in inputs}
            for profile in range(engine.num_optimization_profiles)
        ),
    )


def _port(engine: Any, name: str) -> Port:
    kind = engine.get_tensor_dtype(name).name
    if kind not in _DTYPES:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"tensor {name!r} of the engine has type {kind}, which no network of a "
            "bundle has; export the bundle again",
        )
    shape = tuple(engine.get_tensor_shape(name))
    return Port(
        name=name,
        dtype=np.dtype(_DTYPES[kind]),
        shape=tuple(None if size < 0 else int(size) for size in shape),
    )


def _range(engine: Any, name: str, profile: int) -> ShapeRange:
    low, usual, high = (
        tuple(int(size) for size in shape)
        for shape in engine.get_tensor_profile_shape(name, profile)
    )
    return ShapeRange(minimum=low, optimum=usual, maximum=high)


def _tensors(ports: tuple[Port, ...]) -> dict[str, Tensor]:
    return {
        port.name: Tensor(dtype=np.dtype(port.dtype).name, shape=port.shape)
        for port in ports
    }


def _named(dtypes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in sorted(dtypes.items()))


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape))
