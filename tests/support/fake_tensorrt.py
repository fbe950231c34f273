"""The part of TensorRT's Python API that builds engines, recording what is asked.

It stands in for the full `tensorrt` package, which needs a GPU. `tensorrt_rtx`, whose
API is the same, is tested for real.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from spinert.runtime.compiled.flavour import PRODUCTS, Flavour


class BuilderFlag(IntEnum):
    TF32 = 1
    FP16 = 2
    STRIP_PLAN = 3


class _Base:
    """ILogger and IProgressMonitor: classes to inherit from."""


def tensor(name: str, dtype: str, *shape: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, dtype=SimpleNamespace(name=dtype), shape=shape)


@dataclass
class Config:
    calls: list[tuple[Any, ...]]
    times_are_ours: bool = True
    builder_optimization_level: int = 3
    progress_monitor: Any = None
    times: bytes = b""

    def set_flag(self, flag: BuilderFlag) -> None:
        self.calls.append(("set_flag", flag.name))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.calls.append(("clear_flag", flag.name))

    def add_optimization_profile(self, profile: Any) -> int:
        self.calls.append(("profile", profile.shapes))
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        self.calls.append(("create_timing_cache", content))
        return SimpleNamespace(content=content, serialize=lambda: content)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.calls.append(("set_timing_cache", cache.content, ignore_mismatch))
        self.times = cache.content
        return self.times_are_ours or cache.content == b""

    def get_timing_cache(self) -> Any:
        measured = self.times + b"measured"
        return SimpleNamespace(serialize=lambda: measured)


@dataclass
class FakeTensorrt:
    """A module object; `calls` holds what was asked of it, in order."""

    version: str = "10.16.1.11"
    inputs: tuple[Any, ...] = (tensor("image", "UINT8", -1, 1, 32, 32),)
    outputs: tuple[Any, ...] = (tensor("logits", "FLOAT", -1, 2),)
    plan: bytes | None = b"a plan"
    times_are_ours: bool = True
    errors: tuple[str, ...] = ()
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    BuilderFlag = BuilderFlag
    ILogger = _Base
    IProgressMonitor = _Base

    def __post_init__(self) -> None:
        self.config = Config(self.calls, self.times_are_ours)
        if int(self.version.partition(".")[0]) < 11:
            self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        else:
            # 11 still has the member, without effect; a later one may not.
            self.NetworkDefinitionCreationFlag = SimpleNamespace()

    @property
    def __version__(self) -> str:
        return self.version

    def flavour(self) -> Flavour:
        product = PRODUCTS["tensorrt"]
        return Flavour(product=product, version=self.version, api=self)

    def init_libnvinfer_plugins(self, _log: Any, namespace: str) -> bool:
        self.calls.append(("init_libnvinfer_plugins", namespace))
        return True

    def Builder(self, log: Any) -> Any:
        def create_network(flags: int) -> Any:
            self.calls.append(("create_network", flags))
            return SimpleNamespace(
                num_inputs=len(self.inputs),
                num_outputs=len(self.outputs),
                get_input=self.inputs.__getitem__,
                get_output=self.outputs.__getitem__,
            )

        def build(_definition: Any, config: Config) -> bytes | None:
            monitor = config.progress_monitor
            self.calls.append(("build", config.builder_optimization_level))
            for error in self.errors:
                log.log(1, error)
            monitor.phase_start("all", None, 2)
            go_on = monitor.step_complete("all", 0) and monitor.step_complete("all", 1)
            monitor.phase_finish("all")
            return self.plan if go_on else None

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=_Shapes,
            build_serialized_network=build,
        )

    def OnnxParser(self, _definition: Any, _log: Any) -> Any:
        return SimpleNamespace(parse=lambda content: len(content) > 0)


class _Shapes:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
        self.shapes[name] = (low, usual, high)
