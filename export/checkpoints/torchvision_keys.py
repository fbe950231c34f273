"""How torchvision's detectors spell the keys of a ResNet with its pyramid."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["torchvision_backbone_key"]

_BODY: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.body.bn1."),
        (r"^backbone\.bottom_up\.stem\.conv1\.", "backbone.body.conv1."),
        (r"\.conv(\d)\.norm\.", r".bn\1."),
        (r"\.shortcut\.norm\.", ".downsample.1."),
        (r"\.shortcut\.", ".downsample.0."),
    )
)
_STAGE: Final = re.compile(r"^backbone\.bottom_up\.res(\d)\.")
_PYRAMID: Final = re.compile(r"^backbone\.fpn_(lateral|output)(\d)\.(norm\.)?")
_BLOCKS: Final = {"lateral": "inner_blocks", "output": "layer_blocks"}


def torchvision_backbone_key(key: str, *, first: int, old: bool = False) -> str:
    """Spell a key of `ResNetFPN` as torchvision does; leave any other as it is.

    Args:
        key: Own key, from `backbone.`.
        first: Lowest stage that feeds the pyramid: torchvision counts from it.
        old: As before torchvision 0.13, without an index inside a pyramid's block.
    """
    match = _PYRAMID.match(key)
    if match is not None:
        kind, level, norm = match.groups()
        inside = "" if old else ("1." if norm else "0.")
        block = f"backbone.fpn.{_BLOCKS[kind]}.{int(level) - first}.{inside}"
        return block + key[match.end() :]
    if not key.startswith("backbone.bottom_up."):
        return key
    for pattern, replacement in _BODY:
        key = pattern.sub(replacement, key)
    return _STAGE.sub(lambda m: f"backbone.body.layer{int(m[1]) - 1}.", key)
