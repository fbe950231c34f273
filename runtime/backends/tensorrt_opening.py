"""Opening the first GPU for TensorRT or TensorRT-RTX, with the engine cache."""

from __future__ import annotations

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.tensorrt import TensorRtBackend
from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.compiled.flavour import load_flavour
from spinert.runtime.compiled.gpu import gpu_of_this_machine
from spinert.runtime.compiled.key import target_for
from spinert.runtime.compiled.obtaining import (
    Obtained,
    Source,
    key_for,
    obtained_engine,
)
from spinert.runtime.compiled.obtaining import (
    options_from_settings as compile_options_from_settings,
)
from spinert.runtime.device.pycuda import open_pycuda_device
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["tensorrt_backend", "tensorrt_rtx_backend"]


def tensorrt_backend(options: BackendOptions) -> TensorRtBackend:
    """Open the first GPU for TensorRT 10 or 11.

    Raises:
        BackendUnavailable: No GPU, or TensorRT or PyCUDA is not installed.
    """
    return _opened("tensorrt", options)


def tensorrt_rtx_backend(options: BackendOptions) -> TensorRtBackend:
    """Open the first GPU for TensorRT-RTX.

    Raises:
        BackendUnavailable: No GPU, one that TensorRT-RTX does not run on, or
            TensorRT-RTX or PyCUDA is not installed.
    """
    return _opened("tensorrt-rtx", options)


def _opened(product: str, options: BackendOptions) -> TensorRtBackend:
    flavour = load_flavour(product)
    engines = options.engines
    if options.cache_dir is None:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{flavour} keeps engines on disk and this user has no home: set "
            "engines.cache_dir to a directory",
        )
    # Refuses a GPU that the flavour does not run on, before anything is set up.
    target = target_for(flavour, gpu_of_this_machine(), bind_to_gpu=engines.bind_to_gpu)
    compile_options = compile_options_from_settings(engines, options.max_batch)
    cache = EngineCache(options.cache_dir)

    def obtain(source: Source) -> Obtained:
        key = key_for(source, flavour, target, compile_options)
        return obtained_engine(source, flavour, key, cache, options.progress)

    device = open_pycuda_device()
    return TensorRtBackend(options, flavour=flavour, device=device, obtain=obtain)
