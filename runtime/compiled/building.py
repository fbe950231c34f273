"""Compile one ONNX graph: the one code path for every TensorRT.

Networks are strongly typed: precision is what the graph says, node by node. TensorRT
10 has to be told so, 11 and RTX know nothing else. No precision flag is ever set, and
TF32, which is on by default and rounds inputs of float32 products to 10 bits, is
cleared: what stays float32 in a graph stays so for its accuracy.
"""

from __future__ import annotations

import hashlib
import mmap
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends.contract import Tensor, broken_contract
from spinert.runtime.backends.onnx_scan import refuse_external_data
from spinert.runtime.compiled.diagnostics import api_logger, build_error, parse_error
from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.compiled.key import EngineKey
from spinert.runtime.compiled.monitor import progress_monitor
from spinert.runtime.compiled.profiles import Profile
from spinert.runtime.compiled.timing import TimingCache
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["Plan", "plan_from_onnx"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A compiled network in memory, and what it took."""

    content: memoryview
    seconds: float
    peak_rss_bytes: int
    """Largest memory of this process, up to now."""


def plan_from_onnx(
    flavour: Flavour,
    onnx: Path,
    network: pb.Network,
    key: EngineKey,
    progress: Callable[[float], None],
    timing: TimingCache | None = None,
) -> Plan:
    """Compile `onnx` as `key` says.

    Python's other threads go on meanwhile: TensorRT releases the interpreter lock.

    Args:
        flavour: What compiles.
        onnx: One self-contained file.
        network: What the bundle says of it; the graph must agree.
        key: Target, profiles and options.
        progress: Called with the fraction done; what it raises ends the build and is
            passed on.
        timing: Kernel times measured before, where `flavour` can use them.

    Raises:
        BackendUnavailable: The file keeps tensors elsewhere, a node cannot be read or
            compiled (it is named), or the graph is not the network described.
    """
    try:
        return _compiled(flavour, onnx, network, key, progress, timing)
    except Exception as error:
        # Frames that its traceback keeps would keep the builder until the next garbage
        # collection. That one may come while TensorRT logs under a lock which the
        # builder's end takes, too, and would wait for itself for ever.
        traceback.clear_frames(error.__traceback__)
        raise


def _compiled(
    flavour: Flavour,
    onnx: Path,
    network: pb.Network,
    key: EngineKey,
    progress: Callable[[float], None],
    timing: TimingCache | None,
) -> Plan:
    started = time.monotonic()
    refuse_external_data(onnx)
    log = api_logger(flavour.api)
    builder = flavour.api.Builder(log)
    definition = _definition(flavour, builder, log, onnx, key)
    _refuse_other_network(definition, network, key.role)
    config = _config(flavour, builder, key)
    monitor = progress_monitor(flavour.api, progress)
    config.progress_monitor = monitor
    if timing:
        timing.attach(config)
    built = builder.build_serialized_network(definition, config)
    if monitor.failure:
        raise monitor.failure
    if built is None:
        raise build_error(flavour, key.role, tuple(log.errors))
    progress(1.0)
    if timing:
        timing.save(config)
    return Plan(
        content=memoryview(built),
        seconds=time.monotonic() - started,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _definition(
    flavour: Flavour, builder: Any, log: Any, onnx: Path, key: EngineKey
) -> Any:
    """Parse the graph into a strongly typed network definition."""
    api = flavour.api
    if flavour.product.operators:
        # RoiAlign is one of the plugins that come with TensorRT.
        api.init_libnvinfer_plugins(log, "")
    strongly_typed = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    flags = 0 if strongly_typed is None else 1 << int(strongly_typed)
    definition = builder.create_network(flags)
    parser = api.OnnxParser(definition, log)
    with (
        onnx.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        if hashlib.sha256(content).hexdigest() != key.onnx_sha256:
            raise BackendUnavailable(
                Reason.ENGINE_BUILD_FAILED,
                f"{onnx.name} changed while its engine was made; build it again",
            )
        read = parser.parse(content)
    if not read:
        raise parse_error(flavour, key.role, parser)
    return definition


def _refuse_other_network(definition: Any, network: pb.Network, role: str) -> None:
    inputs = (definition.get_input(i) for i in range(definition.num_inputs))
    outputs = (definition.get_output(i) for i in range(definition.num_outputs))
    broken = broken_contract(
        network,
        {tensor.name: _tensor(tensor) for tensor in inputs},
        {tensor.name: _tensor(tensor) for tensor in outputs},
    )
    if broken:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"network {role!r} is not what the bundle describes: {broken[0]}",
        )


def _tensor(tensor: Any) -> Tensor:
    names = {"FLOAT": "float32", "HALF": "float16"}
    dtype = names.get(tensor.dtype.name, tensor.dtype.name.lower())
    shape = tuple(None if size < 0 else size for size in tensor.shape)
    return Tensor(dtype=dtype, shape=shape)


def _config(flavour: Flavour, builder: Any, key: EngineKey) -> Any:
    api = flavour.api
    config = builder.create_builder_config()
    config.builder_optimization_level = key.optimization_level
    config.clear_flag(api.BuilderFlag.TF32)
    if key.stripped:
        config.set_flag(api.BuilderFlag.STRIP_PLAN)
    if flavour.product.is_ahead_of_time:
        config.num_compute_capabilities = 1
        capability = api.ComputeCapability.__members__[f"SM{key.target.sm}"]
        config.set_compute_capability(capability, 0)
    for profile in key.profiles:
        config.add_optimization_profile(_optimization_profile(builder, profile))
    return config


def _optimization_profile(builder: Any, profile: Profile) -> Any:
    made = builder.create_optimization_profile()
    for name, shapes in profile.inputs().items():
        made.set_shape(name, shapes.minimum, shapes.optimum, shapes.maximum)
    return made
