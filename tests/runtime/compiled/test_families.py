"""Every family becomes an engine, in both precisions, on a machine without a GPU."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.compiling import rtx_flavour

from spinert.runtime.config import Settings
from spinert.runtime.report.build import BuildFlags, build_engines, order_from_flags

pytestmark = pytest.mark.slow

RECIPE = """
name = "{name}"
version = "1"
preset = "vindr"

[[classifier]]
architecture = "densenet"
checkpoint = "untrained:1"

[detector]
architecture = "{name}"
checkpoint = "untrained:3"
options = {{ {options} }}

[golden]
sizes = [[160, 128], [160, 128], [128, 160]]
batch_sizes = [1]

[bundle.networks.classifier.input.canvas.fixed]
height = 64
width = 64
{canvas}
"""
SHORT_EDGE = """
[bundle.networks.detector.input.canvas.shortest_edge]
short_edge = 160
max_long_edge = 256
"""
OPTIONS = {
    "efficientdet": "",
    "faster_rcnn": "roi_sampling = 2, rpn_per_level = 200, proposals = 150",
    "retinanet": "",
    "sparse_rcnn": "roi_sampling = 2, proposals = 20",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Keep the classifier, which is the same in all of these."""
    return tmp_path_factory.mktemp("kept") / "cache"


def exported(folder: Path, name: str, options: str, kept: Path) -> Path:
    """Return a bundle of small networks of family `name`."""
    from support import efficientdets, faster_rcnns, retinanets, small_networks

    from spinert.export.cache import ExportCache
    from spinert.export.pipeline import Resources, export_bundle

    architectures = {
        "densenet": small_networks.SMALL["small_densenet"],
        "efficientdet": efficientdets.ARCHITECTURES["small"],
        "faster_rcnn": faster_rcnns.ARCHITECTURE,
        "retinanet": retinanets.ARCHITECTURE,
        "sparse_rcnn": small_networks.SMALL["small_sparse_rcnn"],
    }
    canvas = "" if architectures[name].fixed_size else SHORT_EDGE
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(name=name, options=options, canvas=canvas))
    export_bundle(
        recipe,
        folder / "bundle",
        lambda *_: None,
        architectures=architectures,
        resources=Resources(cache=ExportCache(kept)),
    )
    return folder / "bundle"


def built(bundle: Path, cache: Path, precision: str):
    flags = BuildFlags(
        bundle=bundle,
        target="tensorrt-rtx",
        sm="86",
        precision=precision,
        cache=cache,
    )
    order = order_from_flags(flags, Settings())
    return build_engines(order, Console(file=io.StringIO()))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_family_is_compiled_in_both_precisions(name, tmp_path, kept):
    rtx_flavour()
    bundle = exported(tmp_path, name, OPTIONS[name], kept)
    half = built(bundle, tmp_path / "engines", "fp16")
    single = built(bundle, tmp_path / "engines", "fp32")
    assert [engine.network for engine in half] == ["classifier", "detector"]
    for one, other in zip(half, single, strict=True):
        assert (one.precision, other.precision) == ("fp16", "fp32")
        assert one.sha256 != other.sha256
