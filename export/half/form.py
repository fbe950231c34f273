"""Write the FP16 form of a network that is already in the bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx
import onnxruntime

from spinert.export.half.conversion import half_from_single
from spinert.export.half.emulation import rounding_model
from spinert.export.half.tolerances import half_parity
from spinert.export.network_files import half_file
from spinert.export.parity import Golden, golden_feed
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP16

__all__ = ["write_half_form"]

_INPUTS: Final = ("image", "image_size")
_BATCH_SIZES: Final = (1, 2)
"""Slots were proven in float32, and the gate proves them again where it serves."""


def write_half_form(
    folder: Path,
    bundle: pb.Bundle,
    role: str,
    golden: Golden,
    report: Callable[[str, float], None],
) -> None:
    """Convert the main graph of a network, measure it, and add it to `forms`.

    Args:
        folder: Of the bundle; the graph is written beside the main one.
        bundle: Describes the network; its main file is there.
        role: Which network.
        golden: Inputs and reference answers; measured at batch 1 and 2.
        report: Told what begins, and the fraction (0 to 1) of this step.

    Raises:
        GraphError: The graph cannot be converted.
        ParityError: Its FP16 answers are too far from the reference.
    """
    network = bundle.networks[role]
    report("converting to FP16", 0.0)
    path = folder / half_file(network.file)
    form = pb.Form(
        file=path.relative_to(folder).as_posix(),
        precision=FP16,
        operators=network.operators,
        kept_fp32=_convert(folder / network.file, path, golden),
    )
    report("comparing FP16 with the reference", 0.4)
    golden = replace(golden, batch_sizes=_BATCH_SIZES)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # A session keeps the bytes it was made of, but not the file.
        rounding = Path(scratch) / path.name
        onnx.save(rounding_model(onnx.load(path)), rounding)
        measured = half_parity(rounding, golden, bundle, role)
    form.parity.reference = network.parity.reference
    form.parity.compared = (
        f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider, "
        "float16 emulated in float32"
    )
    form.parity.batch_sizes.extend(_BATCH_SIZES)
    measured.record(form.parity)
    network.forms.append(form)


def _convert(single: Path, half: Path, golden: Golden) -> Sequence[pb.KeptNode]:
    """Write the FP16 graph of a file; return the nodes that stay in float32."""
    feeds = [golden_feed([frame], _INPUTS) for frame in golden.frames]
    converted = half_from_single(onnx.load(single), feeds)
    half.write_bytes(converted.model.SerializeToString(deterministic=True))
    return converted.kept
