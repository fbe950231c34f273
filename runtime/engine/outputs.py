"""What a network returned, checked before anyone believes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.errors import BackendError, Reason

__all__ = ["FrameOutput", "Unconverged", "frame_outputs_from_batch"]

FrameOutput = npt.NDArray[np.float32] | Candidates
"""Logits [M] of a classifier, or the candidates of a detector."""


@dataclass(frozen=True, slots=True)
class Unconverged:
    """The graph's own iteration did not settle on this frame: it has no answer."""


def frame_outputs_from_batch(
    role: str, network: pb.Network, classes: int, size: int, outputs: Arrays
) -> list[FrameOutput | Unconverged | BackendError]:
    """Split the outputs of a batch of `size` frames into one entry per slot.

    Args:
        role: Name of the network, for messages.
        network: Its description: members or candidates, kind of output.
        classes: Labels must be below.
        size: Frames that went in.
        outputs: Graph outputs by name, bundle.proto's contract.

    Returns:
        By slot. A BackendError stands where values are not finite or out of range,
        Unconverged where the graph's own `status` says so of this one frame.

    Raises:
        BackendError: NETWORK_OUTPUT_INVALID: an output is missing, misshapen or of
            the wrong type. Nothing of such a batch can be trusted.
    """
    if network.output == pb.OUTPUT_LOGITS:
        logits = _output(role, outputs, "logits", (size, len(network.members)))
        return [
            row if np.isfinite(row).all() else _invalid(role, "numbers not finite")
            for row in logits
        ]
    count = network.detection.candidates
    boxes = _output(role, outputs, "boxes", (size, count, 4))
    scores = _output(role, outputs, "scores", (size, count))
    labels = _output(role, outputs, "labels", (size, count), kind="i")
    status = np.zeros(size, np.int32)
    if "status" in outputs:
        status = _output(role, outputs, "status", (size,), kind="i")
    found = (
        Candidates(boxes=boxes[slot], scores=scores[slot], labels=labels[slot])
        for slot in range(size)
    )
    return [
        Unconverged() if failed else _checked(role, candidates, classes)
        for candidates, failed in zip(found, status, strict=True)
    ]


def _checked(role: str, found: Candidates, classes: int) -> Candidates | BackendError:
    if not np.isfinite(found.boxes).all():
        return _invalid(role, "boxes that are not finite")
    # Not a number is in no range.
    if not ((found.scores >= 0) & (found.scores <= 1)).all():
        return _invalid(role, "scores outside 0..1")
    if not ((found.labels >= 0) & (found.labels < classes)).all():
        return _invalid(role, f"labels outside 0..{classes - 1}")
    return found


def _output(
    role: str, outputs: Arrays, name: str, shape: tuple[int, ...], kind: str = "f"
) -> npt.NDArray[Any]:
    _require(name in outputs, role, f"no output {name!r}")
    array = outputs[name]
    _require(
        array.shape == shape,
        role,
        f"{name} of shape {list(array.shape)} instead of {list(shape)}",
    )
    _require(array.dtype.kind == kind, role, f"{name} of type {array.dtype}")
    return array


def _require(holds: bool, role: str, found: str) -> None:
    if not holds:
        raise _invalid(role, found)


def _invalid(role: str, found: str) -> BackendError:
    return BackendError(
        Reason.NETWORK_OUTPUT_INVALID,
        f"network {role!r} returned {found}; run `spinert verify` on the bundle",
    )
