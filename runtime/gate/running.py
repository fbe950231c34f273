"""Run the golden set through a backend: every network, batch size and slot."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP32, AgreementRule, rule_from_bundle
from spinert.runtime.backends import Backend, Progress
from spinert.runtime.backends.forms import Form
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.opening import served_form
from spinert.runtime.engine.outputs import (
    FrameOutput,
    Unconverged,
    frame_outputs_from_batch,
)
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.errors import BackendError, BundleError, Reason
from spinert.runtime.gate.batches import GoldenBatch, gate_batches
from spinert.runtime.gate.device_inputs import require_device_inputs
from spinert.runtime.gate.golden_set import (
    GoldenCase,
    golden_cases,
    smallest_frame,
)
from spinert.runtime.gate.report import GateReport, NetworkGate
from spinert.runtime.gate.tally import WAY_OUT, MissError, Tally
from spinert.runtime.recompute.split import Recomputation, recomputation_from_bundle

__all__ = ["run_gate", "run_golden_frame"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """What is being proven."""

    bundle: LoadedBundle
    backend: Backend
    role: str
    form: Form
    cases: Sequence[GoldenCase]
    recomputation: Recomputation | None

    @property
    def network(self) -> pb.Network:
        return self.bundle.spec.networks[self.role]


def run_gate(
    bundle: LoadedBundle,
    backend: Backend,
    batch_sizes: Sequence[int],
    progress: Progress,
) -> GateReport:
    """Compare a backend with the stored FP32 answers, in every slot of every batch.

    A network that misses its tolerance ends there; the others still run. Where a
    network has split graphs, its smallest golden frame is recomputed by them, too.

    Args:
        bundle: Its golden set; preprocessing must reproduce the stored hashes.
        backend: Has loaded the bundle's networks.
        batch_sizes: All that may be served.
        progress: Told before each batch.

    Raises:
        BundleError: There is nothing to run, it cannot be read, or preprocessing
            makes other inputs here.
    """
    frames = bundle.spec.golden.frames
    return _run(bundle, backend, frames, tuple(batch_sizes), progress)


def run_golden_frame(bundle: LoadedBundle, backend: Backend) -> GateReport:
    """Run the smallest golden frame alone: proof at every start that all is well.

    Raises:
        BundleError: As `run_gate`.
    """
    return _run(bundle, backend, smallest_frame(bundle), (1,), lambda *_: None)


def _run(
    bundle: LoadedBundle,
    backend: Backend,
    frames: Sequence[pb.GoldenFrame],
    sizes: tuple[int, ...],
    progress: Progress,
) -> GateReport:
    cases = golden_cases(bundle, frames)
    require_device_inputs(bundle, backend, frames)
    roles = sorted(bundle.spec.networks)
    gates: list[NetworkGate] = []
    for number, role in enumerate(roles):
        report = partial(_report, progress, number, len(roles))
        subject = _Subject(
            bundle=bundle,
            backend=backend,
            role=role,
            form=served_form(bundle, role, backend.capabilities),
            cases=cases[role],
            recomputation=recomputation_from_bundle(bundle, role),
        )
        gates.append(_gate(subject, sizes, report))
        if subject.recomputation is not None:
            report(f"{role}, recomputed", 1.0)
            gates.append(_recomputed_gate(subject, subject.recomputation))
    progress("golden set: done", 1.0)
    return GateReport(networks=tuple(gates))


def _report(
    progress: Progress, number: int, count: int, stage: str, fraction: float
) -> None:
    """Report the fraction of one part as one of the whole."""
    progress(f"golden set: {stage}", (number + fraction) / count)


def _gate(subject: _Subject, sizes: tuple[int, ...], report: Progress) -> NetworkGate:
    tally = Tally(rule=_rule(subject, subject.form.precision, subject.form.parity))
    batches = list(gate_batches([case.tensor for case in subject.cases], sizes))
    total = sum(len(batch.frames) for batch in batches)

    def work() -> None:
        done = 0
        for batch in batches:
            report(f"{subject.role}, batches of {len(batch.frames)}", done / total)
            _compare_batch(subject, batch, tally)
            done += len(batch.frames)

    failure, seconds = _attempted(work)
    return NetworkGate(
        network=subject.role,
        file=subject.form.file,
        precision=subject.form.precision,
        frames=len(subject.cases),
        batch_sizes=sizes,
        measures=tuple(tally.measures()),
        decision_flips=tally.decision_flips,
        seconds=seconds,
        failure=failure,
    )


def _recomputed_gate(subject: _Subject, recomputation: Recomputation) -> NetworkGate:
    """Prove the split graphs on the smallest frame; they are always FP32."""
    tally = Tally(rule=_rule(subject, FP32, subject.network.parity))
    case = min(subject.cases, key=lambda case: case.tensor.pixels.size)
    where = f"network {subject.role!r}, frame {case.frame!r}, recomputed"

    def work() -> None:
        tally.compare(case, recomputation.run(case.tensor), where)

    failure, seconds = _attempted(work)
    return NetworkGate(
        network=subject.role,
        file=subject.network.split.regions,
        precision=FP32,
        frames=1,
        batch_sizes=(1,),
        measures=tuple(tally.measures()),
        decision_flips=tally.decision_flips,
        seconds=seconds,
        is_recomputed=True,
        failure=failure,
    )


def _attempted(work: Callable[[], None]) -> tuple[str, float]:
    """Return what was wrong first, and how long it took."""
    start_s = time.monotonic()
    failure = ""
    try:
        work()
    except MissError as miss:
        failure = str(miss)
    except BackendError as error:
        failure = error.message
    return failure, time.monotonic() - start_s


def _rule(subject: _Subject, precision: str, parity: pb.Parity) -> AgreementRule:
    stated = {entry.output: entry.tolerance_abs for entry in parity.outputs}
    needed: tuple[str, ...] = ("logits",)
    if subject.network.output == pb.OUTPUT_CANDIDATES:
        needed = ("boxes", "scores", "labels")
    if missing := [name for name in needed if name not in stated]:
        raise BundleError(
            Reason.GOLDEN_SET_FAILED,
            f"network {subject.role!r}: the bundle states no tolerance for "
            f"{missing[0]} in {precision}; export it again",
        )
    return rule_from_bundle(subject.bundle.spec, subject.role, precision, stated)


def _compare_batch(subject: _Subject, batch: GoldenBatch, tally: Tally) -> None:
    outputs = _outputs(subject, batch.tensors)
    for slot, (index, output) in enumerate(zip(batch.frames, outputs, strict=True)):
        if index is None:
            continue
        case = subject.cases[index]
        where = (
            f"network {subject.role!r}, frame {case.frame!r}, "
            f"batch of {len(outputs)}, slot {slot}"
        )
        if isinstance(output, BackendError):
            raise MissError(f"{where}: {output.message}")
        if isinstance(output, Unconverged):
            output = _recomputed(subject, case.tensor, where)
        tally.compare(case, output, where)


def _outputs(
    subject: _Subject, tensors: Sequence[NetworkTensor]
) -> list[FrameOutput | Unconverged | BackendError]:
    return frame_outputs_from_batch(
        subject.role,
        subject.network,
        len(subject.bundle.spec.classes),
        len(tensors),
        subject.backend.run(subject.role, batch_inputs(subject.network.input, tensors)),
    )


def _recomputed(subject: _Subject, tensor: NetworkTensor, where: str) -> FrameOutput:
    """Do with an unconverged frame what the server would do."""
    if subject.recomputation is None:
        raise MissError(
            f"{where}: did not converge, and the bundle has no split graphs for it; "
            f"{WAY_OUT}"
        )
    return subject.recomputation.run(tensor)
