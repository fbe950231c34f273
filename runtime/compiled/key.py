"""What a compiled engine is good for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.compiled.gpu import Gpu
from spinert.runtime.compiled.profiles import Profile
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = [
    "EngineKey",
    "Target",
    "ahead_of_time_target",
    "sha256_of_file",
    "target_for",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Which GPU an engine is for. An empty field: any will do."""

    sm: str
    """Compute capability without its dot, e.g. "86"."""
    gpu: str = ""
    uuid: str = ""
    driver: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineKey:
    """Everything an engine depends on; one that differs anywhere is another engine."""

    role: str
    onnx_sha256: str
    """Of the whole file, weights included: external data are refused."""
    flavour: str
    flavour_version: str
    target: Target
    profiles: tuple[Profile, ...]
    precision: str
    optimization_level: int
    stripped: bool
    format: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    def digest(self) -> str:
        """Return the hexadecimal SHA-256 that names the engine."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def explain(self, other: Mapping[str, Any]) -> tuple[str, ...]:
        """Tell which fields keep the engine of key `other` from being this one.

        Args:
            other: A key as JSON values, as it was stored.

        Returns:
            One "FIELD was OLD, is NEW" for each field that differs; of hashes only
            the name.
        """
        ours, theirs = dict(_flat(self.as_json())), dict(_flat(other))
        return tuple(
            _difference(name, theirs.get(name), ours.get(name))
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        )


def target_for(flavour: Flavour, gpu: Gpu, *, bind_to_gpu: bool) -> Target:
    """Return the target of engines for `gpu`.

    An engine of TensorRT-RTX is for a compute capability: name and driver enter when
    it is specialised on the target. One of TensorRT is made of kernels that were
    timed on this GPU with this driver.

    Args:
        flavour: What compiles.
        gpu: The GPU that will run it.
        bind_to_gpu: Only this very GPU (UUID), not another of the same model.

    Raises:
        BackendUnavailable: `flavour` does not compile for this GPU.
    """
    if not flavour.product.is_ahead_of_time:
        uuid = gpu.uuid if bind_to_gpu else ""
        return Target(sm=gpu.sm, gpu=gpu.name, uuid=uuid, driver=gpu.driver)
    return ahead_of_time_target(flavour, gpu.sm)


def ahead_of_time_target(flavour: Flavour, sm: str) -> Target:
    """Return the target of engines for compute capability `sm`, e.g. "86".

    Raises:
        BackendUnavailable: `flavour` does not compile for `sm`, or only for the GPU
            at hand.
    """
    if not flavour.product.is_ahead_of_time:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{flavour} builds only for the GPU it runs on: leave out --sm, or build "
            "with --target tensorrt-rtx",
        )
    known = flavour.capabilities()
    if sm not in known:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{flavour} does not compile for sm_{sm}, only for {', '.join(known)}; "
            'use backend "onnxruntime-cuda" or "tensorrt" there',
        )
    return Target(sm=sm)


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content.

    Raises:
        BackendUnavailable: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{path.name} cannot be read: {error.strerror}; export the bundle again",
        ) from error


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted name, value) of everything but tables and lists of tables."""
    match value:
        case dict():
            for key, item in value.items():
                yield from _flat(item, f"{name}.{key}" if name else str(key))
        case [dict(), *_]:
            for index, item in enumerate(value):
                yield from _flat(item, f"{name}.{index}")
        case _:
            yield name, value


def _difference(name: str, old: object, new: object) -> str:
    if name.endswith("sha256"):
        return f"{name} differs"
    return f"{name} was {old}, is {new}"
