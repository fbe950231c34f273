"""The golden set: stored inputs with reference outputs, run through a backend."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from PIL import Image as PillowImage

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Backend
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.engine.lane import batch_inputs
from spinert.runtime.engine.outputs import FrameOutput, frame_outputs_from_batch
from spinert.runtime.engine.prepare import NetworkTensor, prepared_from_image
from spinert.runtime.errors import BackendError, BundleError, Reason
from spinert.runtime.golden_batches import golden_batches
from spinert.runtime.golden_compare import (
    Reference,
    candidate_differences,
    logit_differences,
)
from spinert.runtime.image import Image, Photometric

__all__ = [
    "GoldenMeasure",
    "GoldenReport",
    "Progress",
    "run_golden_frame",
    "run_golden_set",
]

# What NumPy raises for a file that is not an archive of plain arrays.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile)

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction that is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenMeasure:
    """The largest difference of one output over all runs."""

    network: str
    output: str
    measured_max_abs: float
    tolerance_abs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenReport:
    """A golden set that passed."""

    frames: int
    batch_sizes: tuple[int, ...]
    measures: tuple[GoldenMeasure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One golden frame as one network sees it, and what it should answer."""

    frame: str
    tensor: NetworkTensor
    reference: Reference


def run_golden_set(
    bundle: LoadedBundle,
    backend: Backend,
    batch_sizes: Sequence[int] = (),
    progress: Progress = lambda stage, fraction: None,
) -> GoldenReport:
    """Run every golden frame through every network, in every slot of every batch.

    Args:
        bundle: Its golden set; preprocessing must reproduce the stored hashes.
        backend: Has loaded the bundle's networks.
        batch_sizes: Empty: those the bundle was exported with.
        progress: Told before each batch.

    Raises:
        BundleError: GOLDEN_SET_FAILED naming network, frame, batch, slot, output,
            difference and tolerance of the first miss; or there is nothing to run.
    """
    sizes = tuple(batch_sizes or bundle.spec.golden.batch_sizes or (1,))
    return _run(bundle, backend, bundle.spec.golden.frames, sizes, progress)


def run_golden_frame(bundle: LoadedBundle, backend: Backend) -> GoldenReport:
    """Run the smallest golden frame alone: proof at every start that all is well.

    Raises:
        BundleError: As `run_golden_set`.
    """
    frames = sorted(
        bundle.spec.golden.frames,
        key=lambda frame: sum(c.height * c.width for c in frame.networks.values()),
    )
    return _run(bundle, backend, frames[:1], (1,), lambda stage, fraction: None)


def _run(
    bundle: LoadedBundle,
    backend: Backend,
    frames: Sequence[pb.GoldenFrame],
    sizes: tuple[int, ...],
    progress: Progress,
) -> GoldenReport:
    if not frames:
        raise _failed("the bundle has no golden frames; export it again")
    cases = _cases(bundle, frames)
    roles = sorted(bundle.spec.networks)
    if unproven := [role for role in roles if role not in cases]:
        raise _failed(f"no golden frame tests network {unproven[0]!r}")
    measures: list[GoldenMeasure] = []
    for number, role in enumerate(roles):
        check = _NetworkCheck(bundle, backend, role, cases[role])
        for text, fraction in check.run(sizes):
            progress(f"golden set: {text}", (number + fraction) / len(roles))
        measures.extend(check.measures())
    progress("golden set: passed", 1.0)
    return GoldenReport(frames=len(frames), batch_sizes=sizes, measures=tuple(measures))


class _NetworkCheck:
    """Runs one network on its cases and keeps the largest differences."""

    def __init__(
        self,
        bundle: LoadedBundle,
        backend: Backend,
        role: str,
        cases: Sequence[_Case],
    ) -> None:
        self._backend = backend
        self._role = role
        self._cases = cases
        self._network = bundle.spec.networks[role]
        self._classes = len(bundle.spec.classes)
        self._tolerances = {
            entry.output: entry.tolerance_abs for entry in self._network.parity.outputs
        }
        self._worst: dict[str, float] = {}

    def run(self, sizes: Sequence[int]) -> Iterator[tuple[str, float]]:
        """Yield what comes next and the share of frames run before it."""
        tensors = [case.tensor for case in self._cases]
        batches = [batch for size in sizes for batch in golden_batches(tensors, size)]
        total = sum(len(batch.frames) for batch in batches)
        done = 0
        for batch in batches:
            size = len(batch.frames)
            yield f"{self._role}, batches of {size}", done / total
            outputs = self._outputs(batch.tensors)
            for slot, (index, output) in enumerate(
                zip(batch.frames, outputs, strict=True)
            ):
                if index is not None:
                    where = f"batch of {size}, slot {slot}"
                    self._compare(self._cases[index], output, where)
            done += size

    def measures(self) -> Iterator[GoldenMeasure]:
        """Yield the largest difference of each output."""
        for output, worst in sorted(self._worst.items()):
            yield GoldenMeasure(
                network=self._role,
                output=output,
                measured_max_abs=worst,
                tolerance_abs=self._tolerances[output],
            )

    def _outputs(
        self, tensors: Sequence[NetworkTensor]
    ) -> list[FrameOutput | BackendError]:
        inputs = batch_inputs(self._network.input, tensors)
        try:
            return frame_outputs_from_batch(
                self._role,
                self._network,
                self._classes,
                len(tensors),
                self._backend.run(self._role, inputs),
            )
        except BackendError as error:
            raise _failed(error.message) from error

    def _compare(
        self, case: _Case, output: FrameOutput | BackendError, where: str
    ) -> None:
        where = f"network {self._role!r}, frame {case.frame!r}, {where}"
        if isinstance(output, BackendError):
            raise _failed(f"{where}: {output.message}")
        for name, gap in self._differences(case, output).items():
            if name not in self._tolerances:
                raise _failed(f"{where}: the bundle states no tolerance for {name}")
            tolerance = self._tolerances[name]
            if not gap <= tolerance:
                raise _failed(
                    f"{where}: {name} differ by {gap:.3g} from the reference, "
                    f"tolerance {tolerance:.3g}; do not serve this bundle here"
                )
            self._worst[name] = max(gap, self._worst.get(name, 0.0))

    def _differences(self, case: _Case, output: FrameOutput) -> dict[str, float]:
        if isinstance(output, Candidates):
            tolerance = self._tolerances.get("scores", 0.0)
            return candidate_differences(case.reference, output, tolerance)
        return logit_differences(case.reference, output)


def _cases(
    bundle: LoadedBundle, frames: Sequence[pb.GoldenFrame]
) -> Mapping[str, list[_Case]]:
    cases: dict[str, list[_Case]] = {}
    for frame in frames:
        image = _image(bundle, frame)
        inputs = prepared_from_image(image, bundle.spec, sorted(frame.networks)).inputs
        for role, case in frame.networks.items():
            tensor = inputs[role]
            digest = hashlib.sha256(tensor.pixels.tobytes()).hexdigest()
            if tensor.size != (case.height, case.width) or digest != case.input_sha256:
                raise _failed(
                    f"network {role!r}, frame {frame.name!r}: this machine's "
                    "preprocessing makes another input than the export did"
                )
            reference = _reference(bundle, role, case)
            entry = _Case(frame=frame.name, tensor=tensor, reference=reference)
            cases.setdefault(role, []).append(entry)
    return cases


def _image(bundle: LoadedBundle, frame: pb.GoldenFrame) -> Image:
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


def _reference(bundle: LoadedBundle, role: str, case: pb.GoldenCase) -> Reference:
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
