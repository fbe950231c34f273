"""Which graph of a network a backend runs. A pure choice."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import BF16, FP16, FP32
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["EVERY_STANDARD_OPERATOR", "Form", "chosen_form"]

EVERY_STANDARD_OPERATOR: Final = "*"
"""Stands in `Capabilities.operators` for all that the ONNX standard has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One graph of a network, as its bundle describes it."""

    file: str
    """Relative to the bundle's directory."""
    precision: str
    operators: tuple[str, ...]
    """Those that not every backend runs."""
    parity: pb.Parity
    """Its differences from the reference, with the tolerances to serve by."""


def chosen_form(
    role: str, network: pb.Network, precision: str, operators: Collection[str]
) -> Form:
    """Return the graph of `network` to run in `precision`.

    Of several that the backend can run, one that needs a special operator is
    taken: it is there because it is faster where that operator exists.

    Args:
        role: The network's name in the bundle, for messages.
        network: What the bundle says of it.
        precision: "fp32" or "fp16"; or "bf16", which is the fp32 graph, computed in
            bfloat16 and judged by the tolerances of the fp16 one.
        operators: The special operators that the backend runs, or
            `EVERY_STANDARD_OPERATOR`.

    Raises:
        BackendUnavailable: The bundle has no such graph; says how to get one.
    """
    forms = [form for form in _all_forms(network) if form.precision == precision]
    runnable = [form for form in forms if not _lacking(form, operators)]
    if runnable:
        return max(runnable, key=lambda form: len(form.operators))
    raise BackendUnavailable(
        Reason.BACKEND_UNAVAILABLE,
        _unsupported(role, forms, operators)
        if forms
        else _missing(role, network, precision),
    )


def _forms(network: pb.Network) -> Iterator[Form]:
    yield Form(
        file=network.file,
        precision=network.precision,
        operators=tuple(network.operators),
        parity=network.parity,
    )
    for form in network.forms:
        yield Form(
            file=form.file,
            precision=form.precision,
            operators=tuple(form.operators),
            parity=form.parity,
        )


def _all_forms(network: pb.Network) -> Iterator[Form]:
    """Yield the graphs of the bundle, and those that rounding makes of them."""
    forms = list(_forms(network))
    yield from forms
    halves = [form.parity for form in forms if form.precision == FP16]
    for form in forms:
        if form.precision == FP32 and halves:
            yield replace(form, precision=BF16, parity=halves[0])


def _lacking(form: Form, operators: Collection[str]) -> set[str]:
    if EVERY_STANDARD_OPERATOR in operators:
        return set()
    return set(form.operators) - set(operators)


def _missing(role: str, network: pb.Network, precision: str) -> str:
    present = ", ".join(sorted({form.precision for form in _forms(network)}))
    what = "fp16 graph, whose tolerances bf16 is judged by"
    wanted = what if precision == BF16 else f"{precision} graph"
    return (
        f"network {role!r} has no {wanted}, only {present}: export with "
        f'precisions = ["fp32", "fp16"], or configure another precision'
    )


def _unsupported(role: str, forms: list[Form], operators: Collection[str]) -> str:
    names = ", ".join(sorted(set().union(*(_lacking(f, operators) for f in forms))))
    way_out = "export it without, or configure another backend"
    if names == "RoiAlign":
        way_out = (
            "set options.roi_sampling = 2 in the recipe and export again, or "
            "configure another backend"
        )
    return f"network {role!r} needs {names}, which this backend does not run: {way_out}"
