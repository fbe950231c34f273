"""Which values a bundle's fields may hold, as tables: pure checks of single fields.

Every message starts with the path of its field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence
from dataclasses import dataclass
from math import inf, isfinite
from operator import attrgetter
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from spinert.proto import bundle_pb2 as pb

__all__ = [
    "bundle_values",
    "canvas_values",
    "network_values",
    "unusable_values",
]

MAX_EDGE_PX: Final = 16384


@dataclass(frozen=True, kw_only=True, slots=True)
class _Range:
    """An interval that every value of a field must lie in."""

    low: float
    high: float = inf
    has_low: bool = True
    has_high: bool = True

    def holds(self, value: float) -> bool:
        """Tell whether `value` lies inside; NaN never does."""
        above = value >= self.low if self.has_low else value > self.low
        return above and (value <= self.high if self.has_high else value < self.high)

    def __str__(self) -> str:
        """Say what is wanted."""
        if self.high == inf:
            return f"must be {'at least' if self.has_low else 'above'} {self.low:g}"
        left, right = "[" if self.has_low else "(", "]" if self.has_high else ")"
        return f"must lie in {left}{self.low:g}, {self.high:g}{right}"


_SHARE: Final = _Range(low=0, high=1)
_COUNT: Final = _Range(low=1)
_EDGE: Final = _Range(low=1, high=MAX_EDGE_PX)

_REQUIRED: Final = (
    "grey.voi",
    "grey.constant_image",
    "combination.rule",
    "decision.comparison",
    "fusion.rule",
)
_RANGES: Final = (
    ("combination.probability_clip", _Range(low=0, high=0.5, has_high=False)),
    ("combination.weights", _Range(low=0)),
    ("decision.threshold", _Range(low=0, high=1, has_low=False, has_high=False)),
    ("decision.uncertain_from", _SHARE),
    ("decision.uncertain_to", _SHARE),
    ("fusion.low_confidence_cutoff", _SHARE),
    ("golden.batch_sizes", _COUNT),
)
_REVERSE_RANGES: Final = (
    ("fusion.reverse.threshold", _Range(low=0, high=1, has_low=False)),
    ("fusion.reverse.no_box_score", _SHARE),
)
_CONSTANCY_RANGES: Final = (
    ("constancy.long_edge_px", _Range(low=64, high=MAX_EDGE_PX)),
    ("constancy.score_tolerance", _Range(low=0, high=1, has_low=False)),
    ("constancy.box_iou_min", _Range(low=0, high=1, has_low=False)),
    ("constancy.finding_floor", _SHARE),
    ("constancy.latency_limit_s", _Range(low=0, has_low=False)),
)
_NETWORK_REQUIRED: Final = ("input.element_type", "input.resampler")
_NETWORK_RANGES: Final = (("input.std", _Range(low=0, has_low=False)),)
_DETECTION_RANGES: Final = (
    ("detection.candidates", _COUNT),
    ("detection.score_floor", _SHARE),
    ("detection.nms_iou", _SHARE),
    ("detection.max_detections", _COUNT),
    ("detection.min_box_edge_px", _Range(low=0)),
)


def unusable_values(message: Message, path: str = "") -> Iterator[str]:
    """Yield every enum value without a name and every number that is not finite."""
    for field, value in message.ListFields():
        where = f"{path}.{field.name}" if path else field.name
        for place, item in _items(where, value):
            if isinstance(item, Message):
                yield from unusable_values(item, place)
            else:
                yield from _unusable(field, item, place)


def bundle_values(spec: pb.Bundle) -> Iterator[str]:
    """Yield what is missing or out of range outside the networks."""
    yield from _missing(spec, _REQUIRED)
    yield from _outside(spec, _RANGES)
    if spec.fusion.HasField("reverse"):
        yield from _outside(spec, _REVERSE_RANGES)
    if spec.HasField("constancy"):
        yield from _missing(spec, ("constancy.phantom_version", "constancy.cases"))
        yield from _outside(spec, _CONSTANCY_RANGES)


def network_values(network: pb.Network) -> Iterator[str]:
    """Yield what is missing or out of range in a network but for its canvas."""
    yield from _missing(network, _NETWORK_REQUIRED)
    yield from _outside(network, _NETWORK_RANGES)
    if network.output == pb.OUTPUT_CANDIDATES:
        yield from _outside(network, _DETECTION_RANGES)


def canvas_values(policy: Message) -> Iterator[str]:
    """Yield what is out of range in one policy; its numbers are lengths."""
    fields = policy.DESCRIPTOR.fields
    lengths = [field.name for field in fields if field.enum_type is None]
    yield from _outside(policy, [(name, _EDGE) for name in lengths])


def _items(where: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, MutableMapping):
        return [(f"{where}.{key}", item) for key, item in value.items()]
    if isinstance(value, MutableSequence):
        return [(where, item) for item in value]
    return [(where, value)]


def _unusable(field: FieldDescriptor, value: object, where: str) -> Iterator[str]:
    kind = field.enum_type
    if kind is not None and value not in kind.values_by_number:
        yield f"{where}: {value} is not known; one of {_known(kind)}"
    elif isinstance(value, float) and not isfinite(value):
        yield f"{where}: must be a finite number"


def _known(kind: EnumDescriptor) -> str:
    return ", ".join(value.name for value in kind.values if value.number)


def _missing(message: Message, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if not attrgetter(path)(message):
            yield f"{path}: must be set"


def _outside(message: Message, ranges: Iterable[tuple[str, _Range]]) -> Iterator[str]:
    for path, wanted in ranges:
        for _, value in _items(path, attrgetter(path)(message)):
            if not wanted.holds(value):
                yield f"{path}: {wanted}"
