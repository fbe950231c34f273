"""The Python API of TensorRT's runtime over a FakeDevice: networks are functions.

Strict where TensorRT is: a context runs only with a profile that holds its shapes,
with every address and shape set and scratch memory given; a capture needs a plain run
after the last change of a shape; two contexts must not share scratch memory unless
their work is in one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from spinert.runtime.compiled.flavour import PRODUCTS, Flavour
from spinert.runtime.compiled.profiles import Profile
from support.fake_device import FakeDevice, Misuse, Operation

Arrays = Mapping[str, Any]
_KINDS = {"uint8": "UINT8", "float32": "FLOAT", "int32": "INT32", "int64": "INT64"}


@dataclass
class FakeNetwork:
    """What an engine computes, and the tensors it does it with."""

    compute: Callable[[Arrays], Arrays]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    """Name -> type and shape without the batch axis."""
    profiles: tuple[Profile, ...]
    scratch_bytes: int = 1000
    has_batch_axis: bool = True
    layers_ms: tuple[tuple[str, float], ...] = (
        ("stem/Conv + stem/Relu", 0.5),
        ("head/MatMul", 0.25),
        ("Reformat", 0.125),
        ("Reformat", 0.125),
    )
    """What the device tells of its layers, in order; names may repeat."""
    inputs: Mapping[str, str] = field(
        default_factory=lambda: {"image": "uint8", "image_size": "int32"}
    )


def classifier_network(profiles: tuple[Profile, ...]) -> FakeNetwork:
    """Return image -> two logits that depend on every pixel of their own sample."""

    def compute(inputs: Arrays) -> Arrays:
        image = inputs["image"].astype(np.float64)
        ramp = np.linspace(0, 1, image[0].size).reshape(image.shape[1:])
        mean = image.mean((1, 2, 3))
        logits = np.stack([mean, (image * ramp).mean((1, 2, 3))], axis=1)
        return {"logits": logits.astype(np.float32)}

    return FakeNetwork(
        compute=compute,
        outputs={"logits": ("float32", (2,))},
        profiles=profiles,
        inputs={"image": "uint8"},
    )


def detector_network(profiles: tuple[Profile, ...], count: int = 8) -> FakeNetwork:
    """Return image, image_size -> boxes that depend on both, of one sample alone."""

    def compute(inputs: Arrays) -> Arrays:
        image, size = inputs["image"], inputs["image_size"]
        level = image.astype(np.float64).mean((1, 2, 3))[:, None] / 255
        rank = np.arange(count) / count
        unit = np.stack([rank, rank, rank + 0.1, rank + 0.1], axis=1)
        edges = np.tile(size[:, None, ::-1], (1, 1, 2))
        labels = np.tile(np.arange(count) % 3, (len(image), 1))
        return {
            "boxes": (unit[None] * edges * level[..., None]).astype(np.float32),
            "scores": (level * (1 - rank)).astype(np.float32),
            "labels": labels.astype(np.int64),
        }

    return FakeNetwork(
        compute=compute,
        outputs={
            "boxes": ("float32", (count, 4)),
            "scores": ("float32", (count,)),
            "labels": ("int64", (count,)),
        },
        profiles=profiles,
    )


class FakeContext:
    """tensorrt.IExecutionContext."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._device = engine.device
        self._profile: int | None = None
        self._scratch: int | None = None
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._may_be_captured = False
        self._changes = 0
        self.profiler: Any = None
        self.enqueue_emits_profile = True
        self._ran = 0
        self._reported = 0
        engine.contexts.add(id(self))
        engine.made += 1

    def __del__(self) -> None:
        self._engine.contexts.discard(id(self))

    def set_device_memory(self, memory: int, size: int) -> None:
        if size < self._engine.device_memory_size_v2:
            raise Misuse("too little scratch memory")
        self._device.at(memory)
        self._scratch = memory

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._device.streams[stream]
        self._profile = profile
        return 0 <= profile < len(self._engine.network.profiles)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self._engine.names

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._may_be_captured = False
        self._changes += 1
        self._shapes[name] = tuple(shape)
        return self._range(name).holds(shape)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        network = self._engine.network
        batch = (self._shapes["image"][0],) if network.has_batch_axis else ()
        return (*batch, *network.outputs[name][1])

    def execute_async_v3(self, stream: int) -> bool:
        self._device.call("enqueue")
        self._engine.runs += 1
        if self._engine.fails:
            return False
        target = self._device.streams[stream]
        if target.captured is not None and not self._may_be_captured:
            raise Misuse("captured without a plain run after its shape was set")
        self._may_be_captured = True
        inputs = {name: self._shapes[name] for name in self._engine.network.inputs}
        if not all(self._range(name).holds(shape) for name, shape in inputs.items()):
            raise Misuse("a shape outside the profile is run")
        self._require_bound()
        uses = [self._device.at(address) for address in self._addresses.values()]
        uses.append(self._device.at(self._scratch))
        if self._engine.scratch_streams.setdefault(self._scratch, stream) != stream:
            raise Misuse("contexts share scratch memory on different streams")
        addresses, changes = dict(self._addresses), self._changes
        is_captured = target.captured is not None

        def run() -> None:
            if is_captured and self._changes != changes:
                raise Misuse("a graph runs after a shape of its context was changed")
            self._run(inputs, addresses)

        target.give(Operation("enqueue", run, tuple(uses)))
        return True

    def _require_bound(self) -> None:
        if set(self._addresses) != set(self._engine.names) or self._scratch is None:
            raise Misuse("a context is run before everything is bound")
        if self.profiler is not None and self.enqueue_emits_profile:
            raise Misuse("the host waits for the device within enqueue")

    def report_to_profiler(self) -> bool:
        if self.profiler is None or self._reported == self._ran:
            return False
        if self._ran - self._reported > 1:
            raise Misuse("a run was never reported")
        self._reported = self._ran
        # The first run makes kernels.
        slow = 100 if self._ran == 1 else 1
        for name, ms in self._engine.network.layers_ms:
            self.profiler.report_layer_time(name, slow * ms)
        return True

    def _run(
        self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]
    ) -> None:
        self._ran += 1
        network = self._engine.network
        arrays = {
            name: self._bytes(addresses[name], shape, network.inputs[name])
            for name, shape in shapes.items()
        }
        for name, array in network.compute(arrays).items():
            kind, rest = network.outputs[name]
            shape = (shapes["image"][0], *rest)
            self._bytes(addresses[name], shape, kind)[...] = array

    def _bytes(self, address: int, shape: tuple[int, ...], kind: str) -> Any:
        dtype = np.dtype(kind)
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._device.at(address).array[:nbytes].view(dtype).reshape(shape)

    def _range(self, name: str) -> Any:
        if self._profile is None:
            raise Misuse("a shape is set before a profile")
        return self._engine.network.profiles[self._profile].inputs()[name]


class FakeEngine:
    """tensorrt.ICudaEngine."""

    def __init__(self, device: FakeDevice, network: FakeNetwork) -> None:
        self.device = device
        self.network = network
        self.names = (*network.inputs, *network.outputs)
        self.contexts: set[int] = set()
        self.scratch_streams: dict[int, int] = {}
        self.made = 0
        self.runs = 0
        self.fails = False
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(network.profiles)
        self.device_memory_size_v2 = network.scratch_bytes

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        is_input = name in self.network.inputs
        return SimpleNamespace(name="INPUT" if is_input else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self.network.inputs.get(name) or self.network.outputs[name][0]
        return SimpleNamespace(name=_KINDS.get(kind, kind))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.network.outputs:
            return (-1, *self.network.outputs[name][1])
        ranges = [profile.inputs()[name] for profile in self.network.profiles]
        lows = zip(*(r.minimum for r in ranges), strict=True)
        highs = zip(*(r.maximum for r in ranges), strict=True)
        return tuple(
            low[0] if axis and len({*low, *high}) == 1 else -1
            for axis, (low, high) in enumerate(zip(lows, highs, strict=True))
        )

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Any]:
        found = self.network.profiles[profile].inputs()[name]
        return [found.minimum, found.optimum, found.maximum]

    def create_execution_context(self, how: Any) -> FakeContext | None:
        self.device.call("create_context")
        return FakeContext(self)

    def create_runtime_config(self) -> Any:
        return FakeRuntimeConfig()


class FakeRuntimeConfig:
    """tensorrt_rtx.IRuntimeConfig."""

    dynamic_shapes_kernel_specialization_strategy = "LAZY"

    def create_runtime_cache(self) -> FakeRuntimeCache:
        return FakeRuntimeCache()

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        if strategy != "USER_MANAGED":
            raise Misuse("scratch memory is not ours")

    def set_runtime_cache(self, cache: FakeRuntimeCache) -> bool:
        cache.contexts += 1
        return True


class FakeRuntimeCache:
    """tensorrt_rtx.IRuntimeCache: holds how many contexts were made with it."""

    def __init__(self) -> None:
        self.contexts = 0

    def serialize(self) -> bytes:
        return b"kernels of %d contexts" % self.contexts

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(b"kernels of "):
            return False
        self.contexts = int(content.split()[2])
        return True


class FakeApi:
    """The module `tensorrt`: plans are names of networks."""

    __version__ = "11.4.0"
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(
        EAGER="EAGER", NONE="NONE", LAZY="LAZY"
    )

    class ILogger:
        """tensorrt.ILogger."""

    class IProfiler:
        """tensorrt.IProfiler."""

    def __init__(self, device: FakeDevice, networks: Mapping[str, FakeNetwork]) -> None:
        self._device = device
        self._networks = networks
        self.engines: list[FakeEngine] = []

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._deserialized)

    def _deserialized(self, plan: bytes) -> FakeEngine | None:
        network = self._networks.get(plan.decode())
        if network is None:
            return None
        self.engines.append(FakeEngine(self._device, network))
        return self.engines[-1]


def fake_flavour(api: FakeApi, product: str = "tensorrt") -> Flavour:
    return Flavour(product=PRODUCTS[product], version=api.__version__, api=api)
