"""A bundle's manifest for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.report.deviations import text_from_deviation

__all__ = ["manifest_view"]

_SIGNS = {pb.GREATER_OR_EQUAL: ">=", pb.GREATER: ">"}


def manifest_view(bundle: LoadedBundle) -> Group:
    """Return what `spinert inspect` prints."""
    spec = bundle.spec
    head = Text.assemble((f"{spec.name} {spec.version}", "bold"), f"  {bundle.sha256}")
    notice = Text(spec.notice, style="yellow")
    facts = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in _facts(spec):
        facts.add_row(Text(name, style="cyan"), Text(value))
    return Group(head, notice, _networks(spec), facts)


def _networks(spec: pb.Bundle) -> Table:
    table = Table(title="Networks", title_justify="left")
    for column in ("role", "architecture", "input", "output", "parity (max abs)"):
        table.add_column(column)
    for role, network in sorted(spec.networks.items()):
        parity = "\n".join(_measured(network.parity))
        cells = (
            role,
            network.architecture,
            _input(network.input),
            _output(network),
            parity,
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _measured(parity: pb.Parity) -> Iterator[str]:
    for entry in parity.outputs:
        yield (
            f"{entry.output} {entry.measured_max_abs:.1e} <= {entry.tolerance_abs:g}"
        )


def _forms(network: pb.Network) -> Iterator[tuple[str, str]]:
    """Yield what else there is of a network, and what it needs."""
    for found in network.deviations:
        yield "approximates", text_from_deviation(found)
    if network.operators:
        yield "needs", ", ".join(network.operators)
    for form in network.forms:
        kept = f"{len(form.kept_fp32)} nodes in fp32"
        measured = ", ".join(_measured(form.parity))
        yield form.precision, f"{measured}; {kept} ({form.parity.compared})"
    if network.HasField("split"):
        yield "split", "unsettled frames are computed again, suppressed by the host"


def _input(spec: pb.NetworkInput) -> str:
    canvas = spec.canvas
    kind = canvas.WhichOneof("kind")
    sizes = {
        "fixed": lambda: f"{canvas.fixed.height} x {canvas.fixed.width}",
        "letterbox": lambda: (
            f"letterbox {canvas.letterbox.height} x {canvas.letterbox.width}"
        ),
        "shortest_edge": lambda: (
            f"short edge {canvas.shortest_edge.short_edge}, at most "
            f"{canvas.shortest_edge.max_long_edge}, "
            f"multiple of {canvas.shortest_edge.pad_multiple}"
        ),
        "native": lambda: f"native, multiple of {canvas.native.pad_multiple}",
    }
    mean = ", ".join(f"{value:g}" for value in spec.mean)
    std = ", ".join(f"{value:g}" for value in spec.std)
    return f"{sizes[kind]() if kind else '?'}\nmean {mean}\nstd {std}"


def _output(network: pb.Network) -> str:
    if network.output == pb.OUTPUT_LOGITS:
        return "logits: " + ", ".join(network.members)
    rule = network.detection
    nms = f"NMS {rule.nms_iou:g}" if rule.nms_iou else "no NMS"
    kind = " class-wise" if rule.nms_iou and rule.nms_class_wise else ""
    return (
        f"{rule.candidates} candidates, floor {rule.score_floor:g}\n"
        f"{nms}{kind}, at most {rule.max_detections}"
    )


def _facts(spec: pb.Bundle) -> Iterator[tuple[str, str]]:
    rule, fusion = spec.decision, spec.fusion
    yield "combination", pb.CombinationRule.Name(spec.combination.rule)
    yield "abnormal", f"p {_SIGNS.get(rule.comparison, '?')} {rule.threshold:g}"
    if rule.uncertain_from < rule.uncertain_to:
        yield "uncertain", f"{rule.uncertain_from:g} <= p < {rule.uncertain_to:g}"
    sign = _SIGNS.get(fusion.comparison, "?")
    cutoff = f", normal keeps score {sign} {fusion.low_confidence_cutoff:g}"
    paper = fusion.rule == pb.FUSION_PAPER
    yield "fusion", pb.FusionRule.Name(fusion.rule) + (cutoff if paper else "")
    if fusion.HasField("reverse"):
        yield "reverse fusion", f"(p + best score) / 2, {fusion.reverse.threshold:g}"
    yield "classes", ", ".join(c.name for c in spec.classes)
    sizes = ", ".join(str(size) for size in spec.golden.batch_sizes)
    yield "golden set", f"{len(spec.golden.frames)} frames, batches of {sizes}"
    for record in spec.provenance.checkpoints:
        told = "".join(f"; {note}" for note in record.notes)
        yield f"{record.role} weights", f"{record.source} ({record.style}){told}"
    for role, network in sorted(spec.networks.items()):
        for name, text in _forms(network):
            yield f"{role} {name}", text
    if spec.HasField("constancy"):
        limits = spec.constancy
        yield (
            "constancy test",
            f"{len(limits.cases)} phantoms of {limits.long_edge_px} px, scores within "
            f"{limits.score_tolerance:g}, IoU from {limits.box_iou_min:g}, median "
            f"latency up to {limits.latency_limit_s:g} s",
        )
    for revision in spec.provenance.revisions:
        yield "revised", f"{revision.made_at} by {revision.tool}: {revision.note}"
    yield "exported", f"{spec.provenance.created_at}, preset {spec.provenance.preset}"
    total = sum(entry.bytes for entry in spec.files) / 2**20
    yield "files", f"{len(spec.files)}, {total:.1f} MiB"
