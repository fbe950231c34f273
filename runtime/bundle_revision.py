"""A bundle with other choices and the same networks: complete, or not there at all.

What is chosen after the export, on evidence the export does not have: the threshold,
the band of uncertainty, the fusion's cut-off, the limits of the constancy test.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.proto.bundle_directory import (
    MANIFEST,
    manifest_text,
    occupied,
    staged_directory,
)
from spinert.proto.bundle_rules import broken_rules
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.errors import ConfigError, Reason

__all__ = [
    "BundleChange",
    "RevisionRecord",
    "require_revision_place",
    "revised_version",
    "write_revision",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleChange:
    """What to choose anew; None keeps what the bundle says."""

    threshold: float | None = None
    """Of the decision: in reverse fusion, where the bundle uses it."""
    uncertain: tuple[float, float] | None = None
    """UNCERTAIN from the first value to below the second; equal: no band."""
    low_confidence_cutoff: float | None = None
    constancy: pb.Constancy | None = None

    @property
    def is_of_decisions(self) -> bool:
        """Tell whether frames may be decided otherwise than before."""
        chosen = (self.threshold, self.uncertain, self.low_confidence_cutoff)
        return any(value is not None for value in chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class RevisionRecord:
    """Who made a revision, when and why: stored with it."""

    version: str
    """Of the new bundle; see `revised_version`."""
    tool: str
    """Name and version."""
    made_at: datetime
    """With a time zone."""
    note: str
    """What was changed, and on what evidence. No patient data."""


def revised_version(version: str, label: str, day: date) -> str:
    """Return `version` marked as revised, as build metadata (semver.org, item 10).

    >>> revised_version("1", "cal", date(2030, 5, 4))
    '1+cal.20300504'
    >>> revised_version("1+cal.20300504", "limits", date(2030, 5, 6))
    '1+cal.20300504.limits.20300506'
    """
    separator = "." if "+" in version else "+"
    return f"{version}{separator}{label}.{day:%Y%m%d}"


def write_revision(
    bundle: LoadedBundle,
    output: Path,
    change: BundleChange,
    record: RevisionRecord,
    *,
    replace: bool = False,
) -> LoadedBundle:
    """Write `bundle` with `change` to the directory `output` and return it.

    All other files are copied. Limits of the constancy test do not outlive a change
    of decisions that brings no new ones, because they hold decisions; the record then
    says so.

    Raises:
        ConfigError: The change is not valid, `output` holds something that must not
            be replaced, or it cannot be written.
    """
    spec = _revised(bundle, change, record)
    if broken := broken_rules(spec):
        raise _refusal(f"the revised bundle would not be valid: {broken[0]}")
    require_revision_place(output, replace=replace)
    try:
        with staged_directory(output) as fresh:
            for entry in spec.files:
                _bring(bundle.directory / entry.path, fresh / entry.path)
            (fresh / MANIFEST).write_text(manifest_text(spec), encoding="utf-8")
    except OSError as error:
        why = error.strerror or "no reason given"
        raise _refusal(
            f"{output} cannot be written: {why}; make room or name another directory"
        ) from error
    return load_bundle(output, check_hashes=False)


def require_revision_place(output: Path, *, replace: bool) -> None:
    """Do nothing if a revision may be written to the directory `output`.

    Raises:
        ConfigError: It holds something that must not be replaced.
    """
    if why := occupied(output, replace=replace):
        raise _refusal(f"{output}: {why}")


def _revised(
    bundle: LoadedBundle, change: BundleChange, record: RevisionRecord
) -> bundle_pb2.Bundle:
    spec = bundle_pb2.Bundle()
    spec.CopyFrom(bundle.spec)
    note = record.note
    if change.is_of_decisions:
        _decide_otherwise(spec, change)
        if spec.HasField("constancy") and change.constancy is None:
            spec.ClearField("constancy")
            note += "; the limits of the constancy test were removed: measure them anew"
    if change.constancy is not None:
        spec.constancy.CopyFrom(change.constancy)
    if record.version == spec.version:
        raise _refusal(f"the bundle has version {spec.version} already; name another")
    spec.version = record.version
    spec.provenance.revisions.add(
        tool=record.tool,
        made_at=record.made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        of_sha256=bundle.sha256,
        note=note,
    )
    return spec


def _decide_otherwise(spec: bundle_pb2.Bundle, change: BundleChange) -> None:
    decision, fusion = spec.decision, spec.fusion
    if change.threshold is not None:
        rule = fusion.reverse if fusion.HasField("reverse") else decision
        rule.threshold = change.threshold
    if change.uncertain is not None:
        decision.uncertain_from, decision.uncertain_to = change.uncertain
    if change.low_confidence_cutoff is not None:
        fusion.low_confidence_cutoff = change.low_confidence_cutoff


def _bring(source: Path, target: Path) -> None:
    # Not a hard link: a bundle accepts none, for what changes one changes the other.
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _refusal(message: str) -> ConfigError:
    return ConfigError(Reason.CONFIG_INVALID, message)
