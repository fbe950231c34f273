"""Networks of others, with any standard operator, from file to gate."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.onnx_files import (
    FLOAT,
    IMPORTED_RECIPE,
    FileBuilder,
    classifier_file,
    dense_values,
)

from spinert.export.pipeline import export_bundle
from spinert.runtime.backends.forms import chosen_form
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.compiled.flavour import PRODUCTS
from spinert.runtime.config import BackendSettings, Settings
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.errors import BackendUnavailable
from spinert.runtime.gate.running import run_gate


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> LoadedBundle:
    """Return a bundle whose YOLO-like detector has two operators of its own."""
    folder: Path = tmp_path_factory.mktemp("imported")
    classifier_file(folder / "first.onnx", seed=2)
    builder = FileBuilder()
    value = builder.add("Mish", builder.add("HardSwish", "images"))
    builder.call(dense_values(builder, value, 3, 4 + 7), "output0")
    builder.save(
        folder / "yolo.onnx",
        [("images", FLOAT, ["n", 3, 160, 160])],
        [("output0", FLOAT, ["n", 4 + 7, 100])],
        opset=18,
    )
    recipe = folder / "recipe.toml"
    recipe.write_text(IMPORTED_RECIPE)
    export_bundle(recipe, folder / "bundle", lambda *_: None)
    return load_bundle(folder / "bundle")


def test_onnx_runtime_serves_what_others_made_of_standard_operators(bundle) -> None:
    assert bundle.spec.networks["detector"].operators == ["HardSwish", "Mish"]
    settings = Settings(backend=BackendSettings(threads=1))
    with opened_backend(bundle, settings) as backend:
        report = run_gate(bundle, backend, (1, 2), lambda *_: None)
    report.require_passed()
    assert [gate.network for gate in report.networks] == ["classifier", "detector"]


@pytest.mark.parametrize("product", sorted(PRODUCTS))
def test_a_compiler_of_known_operators_says_which_it_lacks(bundle, product) -> None:
    network, known = bundle.spec.networks["detector"], PRODUCTS[product].operators
    with pytest.raises(BackendUnavailable, match="needs HardSwish, Mish, which"):
        chosen_form("detector", network, "fp32", known)
