"""Which graph of a network a backend runs. A pure choice."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["Form", "chosen_form"]


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
        precision: "fp32" or "fp16".
        operators: The special operators that the backend runs.

    Raises:
        BackendUnavailable: The bundle has no such graph; says how to get one.
    """
    forms = [form for form in _forms(network) if form.precision == precision]
    runnable = [form for form in forms if set(form.operators) <= set(operators)]
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


def _missing(role: str, network: pb.Network, precision: str) -> str:
    present = ", ".join(sorted({form.precision for form in _forms(network)}))
    return (
        f"network {role!r} has no {precision} graph, only {present}: export with "
        f'precisions = ["fp32", "fp16"], or configure another precision'
    )


def _unsupported(role: str, forms: list[Form], operators: Collection[str]) -> str:
    lacking = sorted({name for form in forms for name in form.operators})
    names = ", ".join(name for name in lacking if name not in operators)
    way_out = "export it without, or configure another backend"
    if names == "RoiAlign":
        way_out = (
            "set options.roi_sampling = 2 in the recipe and export again, or "
            "configure another backend"
        )
    return f"network {role!r} needs {names}, which this backend does not run: {way_out}"
