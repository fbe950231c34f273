"""Values to the wire: what an answer says, and who says it.

Enum values are those of the wire (verdict.py, image.py), hence the casts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.backends import Capabilities
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.decide.study import StudySummary
from spinert.runtime.frame import Answer
from spinert.runtime.verdict import Box, Finding, NetworkRun, Receipt, Verdict

__all__ = [
    "DISCLAIMER",
    "FrameNames",
    "Identity",
    "identity_from_bundle",
    "names_from_frame",
    "result_from_answer",
    "server_info_from_identity",
    "wire_study_from_summary",
]

DISCLAIMER = "Research use only: not a medical device."


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Everything about this server that goes into its answers; never modified."""

    classes: tuple[bundle_pb2.FindingClass, ...]
    provenance: pb.Provenance
    """Without the hash of the input and the networks that ran."""
    networks: tuple[pb.NetworkInfo, ...]
    degraded_reason: str = ""
    """Empty: the configured backend serves."""
    constancy: pb.Constancy | None = None
    """Limits of the constancy test; None: the bundle stores none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameNames:
    """What a client calls a frame, for the reply only: never log it."""

    frame_id: str = ""
    sequence: int = 0
    study_uid: str = ""
    """Empty: that of the image, if it has one."""
    series_uid: str = ""


def identity_from_bundle(
    bundle: LoadedBundle,
    capabilities: Capabilities,
    *,
    preprocessing: str,
    runtime_version: str,
    degraded_reason: str = "",
) -> Identity:
    """Collect what answers say about their origin.

    Args:
        bundle: What is served.
        capabilities: Of the loaded backend.
        preprocessing: Version of the preprocessing code.
        runtime_version: Version of this package.
        degraded_reason: Why a backend other than the configured one is running;
            empty: it is the configured one.
    """
    spec = bundle.spec
    provenance = pb.Provenance(
        bundle_name=spec.name,
        bundle_version=spec.version,
        bundle_sha256=bundle.sha256,
        backend=f"{capabilities.name} {capabilities.version}".strip(),
        precision=capabilities.precision,
        preprocessing=preprocessing,
        runtime_version=runtime_version,
        notice=spec.notice,
        degraded=bool(degraded_reason),
    )
    networks = tuple(
        pb.NetworkInfo(
            role=role, architecture=network.architecture, members=network.members
        )
        for role, network in sorted(spec.networks.items())
    )
    return Identity(
        classes=tuple(spec.classes),
        provenance=provenance,
        networks=networks,
        degraded_reason=degraded_reason,
        constancy=spec.constancy if spec.HasField("constancy") else None,
    )


def server_info_from_identity(
    identity: Identity, limits: pb.Limits, uptime_s: float
) -> pb.ServerInfo:
    """Describe the server to whoever asks."""
    origin = identity.provenance
    return pb.ServerInfo(
        runtime_version=origin.runtime_version,
        bundle_name=origin.bundle_name,
        bundle_version=origin.bundle_version,
        bundle_sha256=origin.bundle_sha256,
        notice=origin.notice,
        backend=origin.backend,
        precision=origin.precision,
        networks=identity.networks,
        class_names=[entry.name for entry in identity.classes],
        limits=limits,
        uptime_s=uptime_s,
        disclaimer=DISCLAIMER,
        degraded=bool(identity.degraded_reason),
        degraded_reason=identity.degraded_reason,
        constancy=identity.constancy,
    )


def names_from_frame(frame: pb.Frame) -> FrameNames:
    """Return what `frame` is called."""
    return FrameNames(
        frame_id=frame.frame_id,
        sequence=frame.sequence,
        study_uid=frame.study_uid,
        series_uid=frame.series_uid,
    )


def result_from_answer(
    answer: Answer, identity: Identity, names: FrameNames
) -> pb.Result:
    """Build the reply for one frame; the study verdict is added by the caller."""
    result = pb.Result(
        frame_id=names.frame_id,
        sequence=names.sequence,
        verdict=_verdict(answer.verdict, identity),
        receipt=_receipt(answer.receipt),
        provenance=identity.provenance,
        study_uid=names.study_uid or answer.study_uid,
        series_uid=names.series_uid,
    )
    result.provenance.input_sha256 = answer.input_sha256
    if answer.runs:
        _state_runs(result.provenance, answer.runs)
    return result


def wire_study_from_summary(study: StudySummary) -> pb.StudyVerdict:
    """Name the worst frame of a study so far."""
    return pb.StudyVerdict(
        study_uid=study.study_uid,
        frames=study.frames,
        worst_frame_id=study.worst_frame_id,
        worst_sequence=study.worst_sequence,
        abnormal_probability=study.abnormal_probability,
        decision=cast("pb.Decision", study.decision.value),
        assessment=cast("pb.Assessment", study.assessment.value),
    )


def _state_runs(provenance: pb.Provenance, runs: tuple[NetworkRun, ...]) -> None:
    """Say what ran; the backend may have been another a moment ago."""
    provenance.backend = _joined(run.backend for run in runs)
    provenance.precision = _joined(run.precision for run in runs)
    provenance.engine_key = _joined(run.engine_key for run in runs)
    provenance.degraded = any(run.is_degraded for run in runs)
    for run in runs:
        provenance.networks.add(
            role=run.network,
            backend=run.backend,
            precision=run.precision,
            engine_key=run.engine_key,
            degraded=run.is_degraded,
            recomputed=run.is_recomputed,
        )


def _joined(values: Iterable[str]) -> str:
    """Return the one value, or all of them once."""
    return " + ".join(dict.fromkeys(value for value in values if value))


def _verdict(verdict: Verdict, identity: Identity) -> pb.Verdict:
    return pb.Verdict(
        abnormal_probability=verdict.abnormal_probability,
        members=[
            pb.Member(name=m.name, probability=m.probability, logit=m.logit)
            for m in verdict.members
        ],
        decision=cast("pb.Decision", verdict.decision.value),
        threshold=verdict.threshold,
        assessment=cast("pb.Assessment", verdict.assessment.value),
        findings=_findings(verdict.findings, identity),
        suppressed=_findings(verdict.suppressed, identity),
        quality=cast("list[pb.QualityNote]", sorted(n.value for n in verdict.notes)),
        reverse_fusion_score=verdict.reverse_fusion_score,
        rows=verdict.rows,
        columns=verdict.columns,
    )


def _findings(findings: Iterable[Finding], identity: Identity) -> list[pb.Finding]:
    return [_finding(finding, identity.classes) for finding in findings]


def _finding(
    finding: Finding, classes: tuple[bundle_pb2.FindingClass, ...]
) -> pb.Finding:
    entry = classes[finding.class_index]
    message = pb.Finding(
        class_index=finding.class_index,
        class_name=entry.name,
        score=finding.score,
        box=_box(finding.box),
        box_mm=None if finding.box_mm is None else _box(finding.box_mm),
    )
    if entry.code_value:
        message.code.value = entry.code_value
        message.code.scheme = entry.code_scheme
        message.code.meaning = entry.code_meaning
    return message


def _box(box: Box) -> pb.Box:
    return pb.Box(x_min=box.x_min, y_min=box.y_min, x_max=box.x_max, y_max=box.y_max)


def _receipt(receipt: Receipt) -> pb.Receipt:
    return pb.Receipt(
        stages=[
            pb.Stage(
                name=stage.name,
                start_ms=stage.start_s * 1000,
                duration_ms=stage.duration_s * 1000,
            )
            for stage in receipt.stages
        ],
        batches=[
            pb.BatchRecord(
                network=batch.network,
                size=batch.size,
                slot=batch.slot,
                height=batch.height,
                width=batch.width,
                reason=cast("pb.ReleaseReason", batch.reason.value),
            )
            for batch in receipt.batches
        ],
        total_ms=receipt.total_s * 1000,
    )
