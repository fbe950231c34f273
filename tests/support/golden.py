"""Tiny bundles with a golden set that the fake backend passes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Backend, BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.prepare import NetworkTensor, prepared_from_image
from spinert.runtime.image import Image, Photometric
from support.bundles import tiny_spec, write_bundle
from support.graphs import classifier, detector

TOLERANCES = {"logits": 5e-4, "boxes": 1e-2, "scores": 1e-4, "labels": 0.0}
# Two that share a detector size, one that does not; both photometric kinds.
Shape = tuple[str, int, int, Photometric]
FRAMES: tuple[Shape, ...] = (
    ("first", 160, 128, Photometric.MONOCHROME2),
    ("second", 160, 128, Photometric.MONOCHROME1),
    ("wide", 100, 150, Photometric.MONOCHROME2),
)


def stored_values(seed: int, rows: int, columns: int) -> np.ndarray:
    """Return 12-bit values with a gradient and noise, uint16."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 3000, rows * columns).reshape(rows, columns)
    return (ramp + random.integers(0, 1000, (rows, columns))).astype(np.uint16)


def golden_files(
    spec: pb.Bundle,
    backend: Backend,
    frames: Sequence[Shape],
    batch_sizes: Sequence[int],
) -> dict[str, bytes]:
    """Fill in `spec.golden` and parity; return the files of the golden set.

    `backend` has loaded the networks of `spec`; its answers become the references.
    """
    files: dict[str, bytes] = {}
    spec.golden.batch_sizes.extend(batch_sizes)
    for seed, (name, rows, columns, photometric) in enumerate(frames):
        stored = stored_values(seed, rows, columns)
        png = io.BytesIO()
        PillowImage.fromarray(stored).save(png, format="PNG")
        frame = spec.golden.frames.add(
            name=name,
            image=f"golden/{name}.png",
            photometric_interpretation=photometric.value,
            bits_stored=12,
        )
        files[frame.image] = png.getvalue()
        image = Image(pixels=stored, bits_stored=12, photometric=photometric)
        inputs = prepared_from_image(image, spec, list(spec.networks)).inputs
        for role, tensor in inputs.items():
            case = frame.networks[role]
            case.outputs = f"golden/{name}.{role}.npz"
            case.height, case.width = tensor.size
            case.input_sha256 = hashlib.sha256(tensor.pixels.tobytes()).hexdigest()
            files[case.outputs] = _reference(spec, role, tensor, backend)
    for network in spec.networks.values():
        names = ["logits"]
        if network.output == pb.OUTPUT_CANDIDATES:
            names = ["boxes", "scores", "labels"]
        for output in names:
            network.parity.outputs.add(output=output, tolerance_abs=TOLERANCES[output])
    return files


def _reference(
    spec: pb.Bundle, role: str, tensor: NetworkTensor, backend: Backend
) -> bytes:
    outputs = backend.run(role, batch_inputs(spec.networks[role].input, [tensor]))
    file = io.BytesIO()
    np.savez(file, **{name: value[0] for name, value in outputs.items()})
    return file.getvalue()


def write_golden_bundle(
    directory: Path,
    spec: pb.Bundle | None = None,
    *,
    frames: Sequence[Shape] = FRAMES,
    batch_sizes: Sequence[int] = (1, 2),
    cost_ms: int = 0,
) -> Path:
    """Write a tiny bundle that the fake backend serves and that can be verified.

    `cost_ms` is the time that every call of a network will take.
    """
    spec = pb.Bundle.FromString((spec or tiny_spec()).SerializeToString())
    backend = FakeBackend(BackendOptions())
    for role, network in spec.networks.items():
        backend.load(role, directory / network.file, network)
    files = {network.file: b"fake" for network in spec.networks.values()}
    files |= golden_files(spec, backend, frames, batch_sizes)
    for network in spec.networks.values():
        network.import_options["fake.cost_ms"] = str(cost_ms)
    return write_bundle(directory, spec, files)


def write_onnx_golden_bundle(
    directory: Path, *, frames: Sequence[Shape] = FRAMES[:1]
) -> Path:
    """Write a tiny bundle of real networks whose references are ONNX Runtime's."""
    spec = tiny_spec()
    models = {"classifier": classifier(), "detector": detector()}
    files = {
        f"networks/{role}.onnx": model.SerializeToString()
        for role, model in models.items()
    }
    write_bundle(directory, spec, files)
    backend = OnnxRuntimeBackend(BackendOptions(threads=1))
    for role, network in spec.networks.items():
        backend.load(role, directory / network.file, network)
    files |= golden_files(spec, backend, frames, (1,))
    backend.close()
    return write_bundle(directory, spec, files)
