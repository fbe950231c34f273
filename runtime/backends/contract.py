"""Does a graph have the inputs and outputs its bundle describes? Pure checks.

The contract is that of bundle.proto: `image` and `image_size` in; `logits`, or
`boxes`, `scores`, `labels` and an optional `status` out; the batch axis dynamic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spinert.proto import bundle_pb2 as pb

__all__ = [
    "Tensor",
    "broken_contract",
    "expected_inputs",
    "expected_outputs",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A graph input or output. None stands for a size that may vary."""

    dtype: str
    """NumPy's name: uint8, float32, int32, int64."""
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Write it as float32[N?, ...] for messages."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


def broken_contract(
    network: pb.Network, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
) -> list[str]:
    """Return every way in which a graph is not `network`; empty when it is."""
    wanted_outputs = expected_outputs(network)
    if "status" not in outputs:
        wanted_outputs.pop("status", None)
    return [
        *_differences("input", expected_inputs(network), inputs),
        *_differences("output", wanted_outputs, outputs),
    ]


def expected_inputs(network: pb.Network) -> dict[str, Tensor]:
    """Return the inputs `network` must have."""
    spec = network.input
    is_grey = spec.element_type == pb.ELEMENT_UINT8
    height, width = _canvas(spec.canvas)
    image = Tensor(
        dtype="uint8" if is_grey else "float32",
        shape=(None, 1 if is_grey else len(spec.mean), height, width),
    )
    wanted = {"image": image}
    if spec.takes_image_size:
        wanted["image_size"] = Tensor(dtype="int32", shape=(None, 2))
    return wanted


def expected_outputs(network: pb.Network) -> dict[str, Tensor]:
    """Return the outputs `network` must have; `status` is optional."""
    if network.output == pb.OUTPUT_LOGITS:
        return {"logits": Tensor(dtype="float32", shape=(None, len(network.members)))}
    count = network.detection.candidates
    return {
        "boxes": Tensor(dtype="float32", shape=(None, count, 4)),
        "scores": Tensor(dtype="float32", shape=(None, count)),
        "labels": Tensor(dtype="int64", shape=(None, count)),
        "status": Tensor(dtype="int32", shape=(None,)),
    }


def _canvas(canvas: pb.CanvasPolicy) -> tuple[int | None, int | None]:
    kind = canvas.WhichOneof("kind")
    if kind == "fixed":
        return canvas.fixed.height, canvas.fixed.width
    if kind == "letterbox":
        return canvas.letterbox.height, canvas.letterbox.width
    return None, None


def _differences(
    what: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> Iterator[str]:
    for name in sorted(wanted.keys() - found.keys()):
        yield f"{what} {name!r} is missing, expected {wanted[name]}"
    for name in sorted(found.keys() - wanted.keys()):
        yield f"{what} {name!r} is not known, expected {sorted(wanted)}"
    for name in sorted(wanted.keys() & found.keys()):
        if not _fits(wanted[name], found[name]):
            yield f"{what} {name!r} is {found[name]}, expected {wanted[name]}"


def _fits(wanted: Tensor, found: Tensor) -> bool:
    """Compare type, rank and sizes; a size may vary where the other is fixed.

    But the batch must vary, and so must a height or width without a fixed canvas.
    """
    if wanted.dtype != found.dtype or len(wanted.shape) != len(found.shape):
        return False
    return all(
        have is None or have == want
        for want, have in zip(wanted.shape, found.shape, strict=True)
    )
