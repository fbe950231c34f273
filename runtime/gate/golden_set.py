"""The golden set of a bundle: what networks are asked, and what they should answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from PIL import Image as PillowImage

from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import Answer
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.prepare import NetworkTensor, prepared_from_image
from spinert.runtime.errors import BundleError, Reason
from spinert.runtime.image import Image, Photometric

__all__ = [
    "GoldenCase",
    "golden_cases",
    "golden_image",
    "require_same_input",
    "smallest_frame",
]

# What NumPy raises for a file that is not an archive of plain arrays.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile)


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenCase:
    """One golden frame as one network sees it, and what it should answer."""

    frame: str
    tensor: NetworkTensor
    reference: Answer


def golden_cases(
    bundle: LoadedBundle, frames: Sequence[pb.GoldenFrame]
) -> Mapping[str, list[GoldenCase]]:
    """Return the cases of every network, by role.

    Raises:
        BundleError: GOLDEN_SET_FAILED: there are none for a network, or preprocessing
            makes other inputs here than it did in the export; BUNDLE_INVALID: a file
            cannot be read.
    """
    if not frames:
        raise _failed("the bundle has no golden frames; export it again")
    cases: dict[str, list[GoldenCase]] = {}
    for frame in frames:
        image = golden_image(bundle, frame)
        inputs = prepared_from_image(image, bundle.spec, sorted(frame.networks)).inputs
        for role, stored in frame.networks.items():
            require_same_input(role, frame.name, stored, inputs[role])
            case = GoldenCase(
                frame=frame.name,
                tensor=inputs[role],
                reference=_reference(bundle, role, stored),
            )
            cases.setdefault(role, []).append(case)
    for role in sorted(bundle.spec.networks):
        if role not in cases:
            raise _failed(f"no golden frame tests network {role!r}")
    return cases


def smallest_frame(bundle: LoadedBundle) -> list[pb.GoldenFrame]:
    """Return the golden frame of the fewest pixels; nothing if there is none."""
    frames = sorted(
        bundle.spec.golden.frames,
        key=lambda frame: sum(c.height * c.width for c in frame.networks.values()),
    )
    return frames[:1]


def require_same_input(
    role: str,
    frame: str,
    stored: pb.GoldenCase,
    tensor: NetworkTensor,
    *,
    where: str = "this machine's preprocessing",
) -> None:
    """Do nothing if `tensor` is the input that the export made of golden `frame`.

    Raises:
        BundleError: GOLDEN_SET_FAILED: it is another; `where` made it.
    """
    digest = hashlib.sha256(tensor.pixels.tobytes()).hexdigest()
    size = stored.height, stored.width
    if tensor.size != size or digest != stored.input_sha256:
        raise _failed(
            f"network {role!r}, frame {frame!r}: {where} makes another input than the "
            "export did"
        )


def golden_image(bundle: LoadedBundle, frame: pb.GoldenFrame) -> Image:
    """Read the pixels of a golden frame.

    Raises:
        BundleError: BUNDLE_INVALID: they cannot be read.
    """
    try:
        with PillowImage.open(bundle.directory / frame.image, formats=["PNG"]) as png:
            stored = np.asarray(png).astype(np.uint16)
        return Image(
            pixels=stored,
            bits_stored=frame.bits_stored,
            photometric=Photometric(frame.photometric_interpretation),
        )
    except (OSError, ValueError) as error:
        raise _unreadable(frame.image) from error


def _reference(bundle: LoadedBundle, role: str, case: pb.GoldenCase) -> Answer:
    names: tuple[str, ...] = ("logits",)
    if bundle.spec.networks[role].output == pb.OUTPUT_CANDIDATES:
        names = ("boxes", "scores", "labels")
    try:
        with np.load(bundle.directory / case.outputs, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except _UNREADABLE as error:
        raise _unreadable(case.outputs) from error


def _failed(what: str) -> BundleError:
    return BundleError(Reason.GOLDEN_SET_FAILED, what)


def _unreadable(path: str) -> BundleError:
    return BundleError(
        Reason.BUNDLE_INVALID, f"cannot read {path} of the golden set; export it again"
    )
