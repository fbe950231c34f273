"""Bundles of every family at sizes that a test can afford."""

from __future__ import annotations

from pathlib import Path

from spinert.export.architectures import ARCHITECTURES
from spinert.export.pipeline import export_bundle

# One of each family; the others differ in numbers only.
DETECTORS = (
    "efficientdet_d0",
    "faster_rcnn_r50_fpn",
    "retinanet_r50_fpn",
    "sparse_rcnn_r50_fpn",
)
CLASSIFIERS = ("densenet121", "densenet169", "densenet201")
EDGE_PX = 320
MAX_BATCH = 8

_RECIPE = """
name = "{detector}"
version = "1"
preset = "vindr"
{classifiers}
[detector]
architecture = "{detector}"
checkpoint = "untrained:1"
{options}
[golden]
sizes = [[512, 408], [512, 408], [408, 512]]
batch_sizes = [1, 2]
{canvas}
"""
_CLASSIFIER = """
[[classifier]]
architecture = "{name}"
checkpoint = "untrained:1"
"""
_CANVAS = f"""
[bundle.networks.detector.input.canvas.shortest_edge]
short_edge = {EDGE_PX}
max_long_edge = 512
"""


def write_family_bundle(
    folder: Path, detector: str, classifiers: tuple[str, ...], *, portable: bool
) -> Path:
    """Export untrained, calibrated networks; return the bundle's directory.

    Args:
        folder: For the recipe and the bundle.
        detector: A key of ARCHITECTURES.
        classifiers: Keys of ARCHITECTURES.
        portable: With standard operators only, where the family has the choice.
    """
    options = "options.roi_sampling = 2\n"
    has_choice = "roi_sampling" in ARCHITECTURES[detector].limits
    recipe = folder / "recipe.toml"
    recipe.write_text(
        _RECIPE.format(
            detector=detector,
            classifiers="".join(_CLASSIFIER.format(name=name) for name in classifiers),
            options=options if portable and has_choice else "",
            # EfficientDet has its own letterbox.
            canvas="" if ARCHITECTURES[detector].fixed_size else _CANVAS,
        )
    )
    directory = folder / "bundle"
    export_bundle(recipe, directory, lambda *_: None)
    return directory
