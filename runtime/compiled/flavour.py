"""The products of the TensorRT family, behind one Python API.

`tensorrt` (10.x, 11.x) compiles on and for the GPU at hand. `tensorrt_rtx` compiles
for a list of compute capabilities on any machine, and specialises on the target when
the engine is loaded. What differs between them is data here; the code that builds is
the same (building.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["PRODUCTS", "Flavour", "Product", "load_flavour"]

_OLDEST_MAJOR: Final = MappingProxyType({"tensorrt": 10, "tensorrt-rtx": 1})


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """What one product does, whatever its version."""

    name: str
    """As in settings and on the command line."""
    title: str
    module: str
    install: str
    """What brings the module."""
    operators: tuple[str, ...]
    """Of the ONNX operators that not every backend runs, those it runs."""
    is_ahead_of_time: bool
    """It compiles for a compute capability, with no GPU and for any driver."""
    has_timing_cache: bool
    """Measured kernel times can be kept; no operation in TensorRT-RTX since 1.2."""
    strips_weights: bool
    """TensorRT-RTX 1.7 asks a GPU's driver to compile a refittable network, so it
    cannot strip one ahead of time."""
    profiles_for_single_frames: bool
    """Kernels are chosen for a profile's optimum when the engine is built."""


PRODUCTS: Final[Mapping[str, Product]] = MappingProxyType(
    {
        "tensorrt": Product(
            name="tensorrt",
            title="TensorRT",
            module="tensorrt",
            install="pip install 'spinert[tensorrt]' (on Jetson: JetPack)",
            operators=("RoiAlign",),
            is_ahead_of_time=False,
            has_timing_cache=True,
            strips_weights=True,
            profiles_for_single_frames=True,
        ),
        "tensorrt-rtx": Product(
            name="tensorrt-rtx",
            title="TensorRT-RTX",
            module="tensorrt_rtx",
            install="pip install 'spinert[tensorrt-rtx]'",
            operators=(),
            is_ahead_of_time=True,
            has_timing_cache=False,
            strips_weights=False,
            profiles_for_single_frames=False,
        ),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flavour:
    """A product that is installed."""

    product: Product
    version: str
    api: Any
    """The module."""

    def __str__(self) -> str:
        """Write it as TensorRT-RTX 1.7.1.116 for messages."""
        return f"{self.product.title} {self.version}"

    def capabilities(self) -> tuple[str, ...]:
        """Return the compute capabilities it can compile for, e.g. "86".

        Empty where it compiles only for the GPU at hand.
        """
        if not self.product.is_ahead_of_time:
            return ()
        names = self.api.ComputeCapability.__members__
        found = {name[2:] for name in names if name.startswith("SM")}
        return tuple(sorted(found, key=int))


def load_flavour(name: str) -> Flavour:
    """Import the product called `name`, a key of `PRODUCTS`.

    Raises:
        BackendUnavailable: No such product, not installed, without its libraries, or
            too old for strongly typed networks.
    """
    if name not in PRODUCTS:
        known = ", ".join(sorted(PRODUCTS))
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"unknown engine target {name!r}; choose one of: {known}",
        )
    product = PRODUCTS[name]
    try:
        api = import_module(product.module)
    except (ImportError, OSError, RuntimeError) as error:
        # OSError, RuntimeError: the bindings are there, their libraries are not.
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{product.title} is not installed or lacks its libraries; install: "
            f"{product.install}",
        ) from error
    version = str(api.__version__)
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < _OLDEST_MAJOR[name]:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{product.title} {version} is too old; install: {product.install}",
        )
    return Flavour(product=product, version=version, api=api)
