"""`spinert verify --report`: the evidence for a bundle on one page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spinert import __version__
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.gate.report import NetworkGate
from spinert.runtime.replies import DISCLAIMER
from spinert.runtime.report.deviations import text_from_deviation
from spinert.runtime.report.difference_table import MeasuredOutput, difference_table
from spinert.runtime.report.html import Html, document, element, joined, table, text
from spinert.runtime.report.verify import BackendCheck, Verification

__all__ = ["page_from_verification", "require_place", "write_page"]

_HOW_TO_READ: Final = (
    "Differences are absolute and the largest over all golden frames, batch sizes and "
    "slots. Bars are logarithmic, six decades wide; the line is the tolerance."
)


def require_place(path: Path) -> None:
    """Do nothing if a page may be written to `path`.

    Raises:
        ConfigError: Its folder does not exist.
    """
    if not path.parent.is_dir():
        raise ConfigError(
            Reason.CONFIG_INVALID, f"--report: the folder {path.parent} does not exist"
        )


def write_page(path: Path, found: Verification) -> None:
    """Write the page, replacing one that is there.

    Raises:
        ConfigError: It cannot be written.
    """
    page = page_from_verification(found, datetime.now(UTC))
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            Reason.CONFIG_INVALID, f"--report: cannot write {path}: {error.strerror}"
        ) from error


def page_from_verification(found: Verification, now: datetime) -> Html:
    """Return a page of everything that was measured, here and by the export."""
    spec = found.bundle.spec
    return document(
        f"{spec.name} {spec.version}: verification",
        *_opening(found, now),
        element("h2", text("On this machine: the gate")),
        element("p", text(_HOW_TO_READ), css="soft"),
        *(_check(check) for check in found.checks),
        element("h2", text("In the export: stored with the bundle")),
        *(_network(role, spec.networks[role]) for role in sorted(spec.networks)),
        element("h2", text("Where the weights come from")),
        _checkpoints(spec.provenance.checkpoints),
    )


# -------------------------------------------------------------------- opening


def _opening(found: Verification, now: datetime) -> Iterator[Html]:
    spec = found.bundle.spec
    origin = spec.provenance
    title = text(f"{spec.name} {spec.version} ")
    yield element("h1", title, _badge(found.has_passed))
    yield element("p", text(DISCLAIMER), css="soft")
    if spec.notice:
        yield element("p", text(spec.notice), css="notice")
    packages = ", ".join(f"{k} {v}" for k, v in sorted(origin.packages.items()))
    facts = {
        "bundle SHA-256": found.bundle.sha256,
        "exported": f"{origin.created_at} by spinert {origin.exporter_version}",
        "preset": origin.preset,
        "exported with": packages,
        "golden frames": ", ".join(frame.name for frame in spec.golden.frames),
        "verified": f"{now.isoformat(timespec='seconds')} by spinert {__version__}",
        "machine": found.machine,
    }
    yield element("div", _facts(facts), css="card")


# ----------------------------------------------------------------------- gate


def _check(check: BackendCheck) -> Html:
    told = check.capabilities
    role = "fallback: " if check.is_fallback else ""
    threads = f", {told.threads} threads" if told.threads else ""
    name = f"{role}{told.name} {told.version} on {told.device}{threads} "
    parts = [element("h3", text(name), _badge(not check.gate.failure))]
    for gate in check.gate.networks:
        parts.extend(_gate(gate, check.precision_of(gate)))
    return element("div", *parts, css="card")


def _gate(gate: NetworkGate, precision: str) -> Iterator[Html]:
    again = ", recomputed by its split graphs" if gate.is_recomputed else ""
    yield element("h4", text(f"{gate.network}, {precision}{again}"))
    sizes = f"batches of {min(gate.batch_sizes)} to {max(gate.batch_sizes)}"
    if len(gate.batch_sizes) == 1:
        sizes = f"batches of {gate.batch_sizes[0]}"
    frames = f"{gate.frames} golden frame{'s' if gate.frames > 1 else ''}"
    summary = (
        f"{gate.file}: {frames}, every slot of {sizes}, {gate.seconds:.1f} s; "
        f"{_flips(gate.decision_flips)}"
    )
    yield element("p", text(summary), css="soft")
    if gate.failure:
        yield element("p", text(gate.failure), css="failure")
    yield difference_table(
        MeasuredOutput(
            output=measure.output,
            max_abs=measure.measured_max_abs,
            mean_abs=measure.measured_mean_abs,
            tolerance_abs=measure.tolerance_abs,
        )
        for measure in gate.measures
    )


# --------------------------------------------------------------------- export


def _network(role: str, network: pb.Network) -> Html:
    parts = [element("h3", text(f"{role}: {network.architecture}"))]
    if network.members:
        parts.append(element("p", text(", ".join(network.members)), css="soft"))
    options = network.import_options.items()
    parts.append(_facts(dict(sorted(options))))
    for found in network.deviations:
        told = f"{text_from_deviation(found)}, in the golden frames"
        parts.append(element("p", text(told), css="notice"))
    parts.extend(_parity(network.file, network.precision, network.parity))
    for form in network.forms:
        parts.extend(_parity(form.file, form.precision, form.parity))
        if form.kept_fp32:
            parts.append(_kept_nodes(form.kept_fp32))
    return element("div", *parts, css="card")


def _parity(file: str, precision: str, parity: pb.Parity) -> Iterator[Html]:
    yield element("h4", text(f"{precision}, {file}"))
    sizes = ", ".join(str(size) for size in parity.batch_sizes)
    summary = (
        f"{parity.compared} against {parity.reference}, batches of {sizes}; "
        f"{_flips(parity.decision_flips)}"
    )
    yield element("p", text(summary), css="soft")
    yield difference_table(
        MeasuredOutput(
            output=entry.output,
            max_abs=entry.measured_max_abs,
            mean_abs=entry.measured_mean_abs,
            tolerance_abs=entry.tolerance_abs,
        )
        for entry in parity.outputs
    )


def _kept_nodes(nodes: Iterable[pb.KeptNode]) -> Html:
    """List what stayed in float32, by reason."""
    by_reason: dict[str, list[pb.KeptNode]] = defaultdict(list)
    for node in nodes:
        by_reason[node.reason].append(node)
    total = sum(map(len, by_reason.values()))
    parts = [element("h4", text(f"computed in float32 all the same: {total} nodes"))]
    for reason, kept in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        operators = Counter(node.operator for node in kept).most_common()
        told = ", ".join(f"{count} {operator}" for operator, count in operators)
        summary = element("summary", text(f"{reason}: {told}"))
        names = element("code", text(", ".join(node.node for node in kept)))
        parts.append(element("details", summary, names))
    return joined(parts)


def _checkpoints(records: Iterable[pb.CheckpointRecord]) -> Html:
    rows = [
        (
            "",
            [
                text(" ".join(filter(None, (record.role, record.member)))),
                text(f"{record.architecture}, {record.style}"),
                joined(
                    (
                        element("code", text(f"{record.source} {record.sha256}")),
                        *(element("div", text(note)) for note in record.notes),
                    )
                ),
            ],
        )
        for record in records
    ]
    header = ("network", "architecture, style", "file, SHA-256, notes")
    return element("div", table(header, rows, wide=2), css="card")


# ---------------------------------------------------------------------- parts


def _badge(passed: bool) -> Html:
    return element(
        "span",
        text("PASSED" if passed else "FAILED"),
        css=f"badge {'good' if passed else 'bad'}",
    )


def _facts(facts: dict[str, str]) -> Html:
    return element(
        "dl",
        *(
            joined((element("dt", text(name)), element("dd", text(value))))
            for name, value in facts.items()
            if value
        ),
    )


def _flips(count: int) -> str:
    return f"{count or 'no'} decision flip{'' if count == 1 else 's'}"
