"""What runs the networks: the table [backend] of the settings."""

from __future__ import annotations

from dataclasses import dataclass

from spinert.runtime.toml_values import require

__all__ = ["BackendSettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendSettings:
    """What runs the networks."""

    name: str = "onnxruntime"
    """A key of spinert.runtime.backends.BACKENDS; never replaced silently."""

    threads: int = 0
    """Threads one network may use; 0: all cores."""

    precision: str = ""
    """Of the networks' graphs: "fp32" or "fp16"; empty: the backend's own choice. With
    OpenVINO also "bf16", on processors that compute it."""

    cuda_graphs: bool = True
    """Launch batches of shapes that come back as one CUDA graph each, where the
    backend can. Takes device memory for each shape."""

    device_preprocessing: bool = False
    """Upload each frame once and make the inputs of all networks on the GPU, with the
    backends tensorrt and tensorrt-rtx; needs a build with CUDA kernels. Off: they are
    made on the CPU, to the same bits."""

    device_images_mib: int = 512
    """GPU memory of the frames there while device_preprocessing is on. Frames that
    find none wait before they are prepared."""

    fallback: str = ""
    """Serves while `name` is made ready, and if it never is; every answer says
    `degraded` then. "onnxruntime" or empty: none, wait for `name`."""

    def __post_init__(self) -> None:
        """Reject what no backend could be told."""
        require(self.threads >= 0, "backend.threads must not be negative")
        require(self.device_images_mib >= 1, "backend.device_images_mib: from 1")
        require(
            not self.device_preprocessing or self.name in ("tensorrt", "tensorrt-rtx"),
            "backend.device_preprocessing needs backend.name tensorrt or tensorrt-rtx",
        )
        require(
            self.precision in ("", "fp32", "fp16", "bf16"),
            'backend.precision: "fp32", "fp16" or "bf16", or leave it out',
        )
        require(
            self.precision != "bf16" or self.name == "openvino",
            'backend.precision: only the backend "openvino" computes "bf16"',
        )
        require(
            self.fallback in ("", "onnxruntime"),
            'backend.fallback: "onnxruntime", or leave it out',
        )
        require(
            not self.fallback or self.fallback != self.name,
            "backend.fallback is the backend itself; leave it out",
        )
