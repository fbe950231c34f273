"""A backend without networks, for tests and for measuring everything else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, BackendOptions, Capabilities
from spinert.runtime.errors import BackendError, Reason

__all__ = ["FakeBackend"]


class FakeBackend:
    """Answers from the grey levels of each image alone, the same way every time.

    Logits rise with the mean grey level: a dark image is normal, a bright one
    abnormal. Candidates are a row of boxes whose scores fall from that probability.
    The ONNX file is not read; what a graph would fix is taken from the bundle:
    members, candidates K, and two `import_options` of a network:
    `fake.classes` (labels 0..classes-1, default 1) and `fake.cost_ms` (time one
    call takes, default 0; it sleeps, as if a device worked).
    """

    def __init__(self, options: BackendOptions) -> None:
        """Accept the options of every backend; only `precision` has an effect.

        It is what `capabilities` says, fp32 if empty: the answers are the same.
        """
        self._precision = options.precision or "fp32"
        self._networks: dict[str, pb.Network] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Describe a backend that is plainly not real."""
        return Capabilities(
            name="fake",
            version="1",
            precision=self._precision,
            device="none",
            threads=0,
            concurrent_networks=True,
        )

    def load(self, role: str, onnx: Path, network: pb.Network) -> None:
        """Remember what `role` has to return; `onnx` is ignored."""
        self._networks[role] = network

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Compute outputs that depend on nothing but each sample itself.

        Raises:
            BackendError: `role` was not loaded.
        """
        if role not in self._networks:
            raise BackendError(
                Reason.NETWORK_FAILED, f"network {role!r} is not loaded; load it first"
            )
        network = self._networks[role]
        cost_ms = float(network.import_options.get("fake.cost_ms", "0"))
        if cost_ms:
            time.sleep(cost_ms / 1000)
        image = inputs["image"]
        # Integer sums per sample: exact, whatever the batch.
        level = np.array([float(sample.mean(dtype=np.float64)) for sample in image])
        if image.dtype == np.uint8:
            level = level / 255.0
        if network.output == pb.OUTPUT_LOGITS:
            return {"logits": _logits(level, len(network.members))}
        sizes = inputs.get("image_size")
        if sizes is None:
            sizes = np.tile(np.array(image.shape[2:], np.int32), (len(image), 1))
        return _candidates(level, sizes, network)

    def close(self) -> None:
        """Forget the networks."""
        self._networks.clear()


def _logits(level: npt.NDArray[np.float64], members: int) -> npt.NDArray[np.float32]:
    offsets = 0.5 * np.arange(members)
    return (8.0 * (level[:, None] - 0.5) + offsets).astype(np.float32)


def _candidates(
    level: npt.NDArray[np.float64], sizes: npt.NDArray[Any], network: pb.Network
) -> Arrays:
    count = network.detection.candidates
    classes = int(network.import_options.get("fake.classes", "1"))
    index = np.arange(count)
    scores = 1.0 / (1.0 + np.exp(-8.0 * (level - 0.5)))[:, None] * 0.9**index
    left = index / count
    unit = np.stack([left, left, left + 0.9 / count, left + 0.9 / count], axis=1)
    height, width = sizes[:, 0, None], sizes[:, 1, None]
    edges = np.stack([width, height, width, height], axis=2)
    labels = np.tile(index % classes, (len(level), 1))
    return {
        "boxes": (unit[None] * edges).astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels.astype(np.int64),
    }
