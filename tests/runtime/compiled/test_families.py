"""Every family and style: at all batch sizes, and as engines without a GPU."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from support.compiling import rtx_flavour

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.config import Settings
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.gate.running import run_gate
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
{style}
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
FASTER = "roi_sampling = 2, rpn_per_level = 200, proposals = 150"
OPTIONS = {
    "efficientdet": "",
    "faster_rcnn detectron2": FASTER,
    "faster_rcnn torchvision": FASTER,
    # It convolves each proposal four times.
    "faster_rcnn torchvision_v2": "roi_sampling = 2, rpn_per_level = 60, proposals = 9",
    "retinanet detectron2": "",
    "retinanet torchvision": "",
    # GroupNorm wants groups that divide the channels of this small network.
    "retinanet torchvision_v2": "head_groups = 16",
    "sparse_rcnn": "roi_sampling = 2, proposals = 20",
}
"""By family and, where there are several, style."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Keep the classifier, which is the same in all of these."""
    return tmp_path_factory.mktemp("kept") / "cache"


def exported(folder: Path, case: str, kept: Path) -> Path:
    """Return a bundle of small networks of a key of OPTIONS."""
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
    name, _, style = case.partition(" ")
    recipe = folder / "recipe.toml"
    recipe.write_text(
        RECIPE.format(
            name=name,
            style=f'style = "{style}"' if style else "",
            options=OPTIONS[case],
            canvas="" if architectures[name].fixed_size else SHORT_EDGE,
        )
    )
    export_bundle(
        recipe,
        folder / "bundle",
        lambda *_: None,
        architectures=architectures,
        resources=Resources(cache=ExportCache(kept)),
    )
    return folder / "bundle"


@pytest.fixture(scope="module", params=OPTIONS)
def bundle(request, tmp_path_factory, kept) -> Path:
    """Export each case once."""
    return exported(tmp_path_factory.mktemp("family"), request.param, kept)


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


def test_every_slot_of_every_batch_size_answers_as_pytorch(bundle):
    loaded = load_bundle(bundle)
    with closing(OnnxRuntimeBackend(BackendOptions(threads=1))) as backend:
        load_networks(backend, loaded)
        run_gate(loaded, backend, range(1, 9), lambda *_: None).require_passed()


def test_a_family_is_compiled_in_both_precisions(bundle, tmp_path):
    rtx_flavour()
    half = built(bundle, tmp_path / "engines", "fp16")
    single = built(bundle, tmp_path / "engines", "fp32")
    assert [engine.network for engine in half] == ["classifier", "detector"]
    for one, other in zip(half, single, strict=True):
        assert (one.precision, other.precision) == ("fp16", "fp32")
        assert one.sha256 != other.sha256
