"""What a failed CUDA call means for the device, and the error that says so.

Some errors end the context: every later call in the process returns the same code,
and only a new process helps. The driver's documentation says of each of them "The
context cannot be used, so it must be destroyed" or "leaves the process in an
inconsistent state ... the process must be terminated and relaunched" (cuda.h, enum
CUresult, CUDA 13). They are called sticky here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from spinert.runtime.errors import BackendError, DeviceLost, Reason

__all__ = [
    "CODES_BY_TEXT",
    "OUT_OF_MEMORY",
    "STICKY",
    "UNKNOWN",
    "CudaFailure",
    "device_lost",
    "error_from_failure",
]

logger = logging.getLogger(__name__)

OUT_OF_MEMORY: Final = 2
UNKNOWN: Final = 999

STICKY: Final[Mapping[int, str]] = MappingProxyType(
    {
        4: "CUDA_ERROR_DEINITIALIZED",
        46: "CUDA_ERROR_DEVICE_UNAVAILABLE",
        201: "CUDA_ERROR_INVALID_CONTEXT",
        214: "CUDA_ERROR_ECC_UNCORRECTABLE",
        220: "CUDA_ERROR_NVLINK_UNCORRECTABLE",
        226: "CUDA_ERROR_CONTAINED",
        700: "CUDA_ERROR_ILLEGAL_ADDRESS",
        702: "CUDA_ERROR_LAUNCH_TIMEOUT",
        709: "CUDA_ERROR_CONTEXT_IS_DESTROYED",
        710: "CUDA_ERROR_ASSERT",
        714: "CUDA_ERROR_HARDWARE_STACK_ERROR",
        715: "CUDA_ERROR_ILLEGAL_INSTRUCTION",
        716: "CUDA_ERROR_MISALIGNED_ADDRESS",
        717: "CUDA_ERROR_INVALID_ADDRESS_SPACE",
        718: "CUDA_ERROR_INVALID_PC",
        719: "CUDA_ERROR_LAUNCH_FAILED",
        721: "CUDA_ERROR_TENSOR_MEMORY_LEAK",
        810: "CUDA_ERROR_MPS_CLIENT_TERMINATED",
        911: "CUDA_ERROR_EXTERNAL_DEVICE",
    }
)
"""Code -> name of every error after which the device is dead for this process.

Not among them, although they come from a launch: 701 LAUNCH_OUT_OF_RESOURCES and
703 LAUNCH_INCOMPATIBLE_TEXTURING, which leave the context as it was. 201 and 709
mean that there is no context any more, whoever destroyed it.
"""

CODES_BY_TEXT: Final[Mapping[str, int]] = MappingProxyType(
    {
        "out of memory": OUT_OF_MEMORY,
        "driver shutting down": 4,
        "CUDA-capable device(s) is/are busy or unavailable": 46,
        "invalid device context": 201,
        "uncorrectable ECC error encountered": 214,
        "uncorrectable NVLink error detected during the execution": 220,
        "an illegal memory access was encountered": 700,
        "the launch timed out and was terminated": 702,
        "context is destroyed": 709,
        "device-side assert triggered": 710,
        "hardware stack error": 714,
        "an illegal instruction was encountered": 715,
        "misaligned address": 716,
        "operation not supported on global/shared address space": 717,
        "invalid program counter": 718,
        "unspecified launch failure": 719,
        # Not sticky; known so that they are not asked about.
        "invalid argument": 1,
        "invalid resource handle": 400,
        "too many resources requested for launch": 701,
        "operation not permitted when stream is capturing": 900,
        "unknown error": UNKNOWN,
    }
)
"""What `cuGetErrorString` says -> code, for a binding that passes on only the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaFailure:
    """A CUDA call that returned an error."""

    call: str
    """The function, e.g. cuMemcpyHtoDAsync."""
    code: int
    """Its `CUresult`; UNKNOWN where only a text is known."""
    text: str
    """The driver's words for `code`; for the log."""

    @property
    def is_sticky(self) -> bool:
        """Whether the device is dead from now on."""
        return self.code in STICKY


def error_from_failure(failure: CudaFailure) -> BackendError | DeviceLost:
    """Return the error to raise for `failure`, and log what CUDA said."""
    logger.error(
        "%s failed with CUDA error %d: %s", failure.call, failure.code, failure.text
    )
    if failure.is_sticky:
        return device_lost(STICKY[failure.code])
    if failure.code == OUT_OF_MEMORY:
        return BackendError(
            Reason.DEVICE_OUT_OF_MEMORY,
            f"the GPU has no memory left ({failure.call}); lower engine.max_batch, or "
            "end other processes on it",
        )
    return BackendError(
        Reason.NETWORK_FAILED,
        f"{failure.call} failed with CUDA error {failure.code}; the log says more",
    )


def device_lost(why: str) -> DeviceLost:
    """Return the error of every call on a dead device.

    Args:
        why: The name of the CUDA error that killed it.
    """
    return DeviceLost(
        Reason.DEVICE_LOST,
        f"the GPU can no longer be used by this process ({why}); the server ends and "
        "has to be started again",
    )
