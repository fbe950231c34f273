"""From a recipe to a bundle, with small networks of the real architectures."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import json_format
from PIL import Image
from support.small_networks import (
    RECIPE,
    SMALL,
    write_recipe,
)

from spinert.export.checkpoints.reader import sha256_from_file
from spinert.export.errors import (
    CheckpointError,
    DestinationError,
    ParityError,
    RecipeError,
)
from spinert.export.pipeline import export_bundle
from spinert.export.preprocess import grey_from_stored, network_frame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import TOLERANCES, agreement, rule_from_bundle
from spinert.proto.bundle_rules import broken_rules


def silent(_text: str, _fraction: float) -> None:
    """Ignore progress."""


def read_bundle(directory: Path) -> pb.Bundle:
    text = (directory / "bundle.json").read_text()
    return json_format.Parse(text, pb.Bundle())


def session(directory: Path, role: str) -> onnxruntime.InferenceSession:
    path = directory / "networks" / f"{role}.onnx"
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_index_lists_every_file_with_its_hash(small_bundle) -> None:
    bundle = read_bundle(small_bundle)
    listed = {file.path: file for file in bundle.files}
    there = {
        path.relative_to(small_bundle).as_posix()
        for path in small_bundle.rglob("*")
        if path.is_file()
    }
    assert set(listed) == there - {"bundle.json"}
    for name, file in listed.items():
        assert file.sha256 == sha256_from_file(small_bundle / name)
        assert file.bytes == (small_bundle / name).stat().st_size


def test_what_is_written_breaks_no_rule_of_the_runtime(small_bundle) -> None:
    assert broken_rules(read_bundle(small_bundle)) == []


def test_the_index_is_sorted_json_that_ends_in_a_newline(small_bundle) -> None:
    text = (small_bundle / "bundle.json").read_text()
    values = json.loads(text)
    assert text == json.dumps(values, indent=2, sort_keys=True) + "\n"
    assert "import_options" in values["networks"]["detector"]


def test_the_bundle_says_what_it_was_made_of(small_bundle) -> None:
    bundle = read_bundle(small_bundle)
    assert "Untrained" in bundle.notice
    assert bundle.networks["classifier"].members == ["first", "second"]
    options = bundle.networks["detector"].import_options
    assert options["small_sparse_rcnn.stride_in_1x1"] == "false"
    assert options["small_sparse_rcnn.roi_aligned"] == "true"
    assert options["small_sparse_rcnn.frozen_bn_eps"] == "1e-05"
    assert bundle.networks["classifier"].import_options["first.final_relu"] == "false"
    records = bundle.provenance.checkpoints
    assert [(r.role, r.source) for r in records] == [
        ("classifier", "untrained:1"),
        ("classifier", "untrained:2"),
        ("detector", "untrained:3"),
    ]
    assert bundle.provenance.packages["torch"] == version("torch")
    recipe = hashlib.sha256(RECIPE.encode()).hexdigest()
    assert bundle.provenance.recipe_sha256 == recipe


def test_parity_is_recorded_for_every_output(small_bundle) -> None:
    bundle = read_bundle(small_bundle)
    for role, names in (
        ("classifier", ["logits"]),
        ("detector", ["boxes", "labels", "scores"]),
    ):
        record = bundle.networks[role].parity
        assert sorted(o.output for o in record.outputs) == names
        assert list(record.batch_sizes) == [1, 2, 5]
        for output in record.outputs:
            assert output.measured_max_abs <= output.tolerance_abs
            assert output.tolerance_abs == TOLERANCES["fp32"][output.output]


def test_the_golden_set_is_reproduced_from_its_files(small_bundle) -> None:
    bundle = read_bundle(small_bundle)
    assert len(bundle.golden.frames) == 4
    for frame in bundle.golden.frames:
        stored = np.asarray(Image.open(small_bundle / frame.image)).astype(np.uint16)
        inverted = frame.photometric_interpretation == "MONOCHROME1"
        grey = grey_from_stored(stored, is_monochrome1=inverted, rule=bundle.grey)
        for role, case in frame.networks.items():
            made = network_frame(grey, bundle.networks[role].input)
            assert hashlib.sha256(made.image.tobytes()).hexdigest() == case.input_sha256
            assert made.image.shape == (1, case.height, case.width)
            feed = {"image": made.image[None], "image_size": made.size[None]}
            run = session(small_bundle, role)
            names = [value.name for value in run.get_outputs()]
            inputs = {value.name: feed[value.name] for value in run.get_inputs()}
            results = run.run(names, inputs)
            actual = {n: r[0] for n, r in zip(names, results, strict=True)}
            with np.load(small_bundle / case.outputs) as file:
                expected = dict(file)
            rule = rule_from_bundle(bundle, role, "fp32")
            for name, gap in agreement(expected, actual, rule).differences.items():
                assert gap.max_abs <= rule.tolerances[name]


def test_the_golden_answers_lie_on_both_sides_of_the_decisions(small_bundle) -> None:
    bundle = read_bundle(small_bundle)
    logits, scores = [], []
    for frame in bundle.golden.frames:
        with np.load(small_bundle / frame.networks["classifier"].outputs) as file:
            logits.append(file["logits"])
        with np.load(small_bundle / frame.networks["detector"].outputs) as file:
            scores.append(file["scores"])
    probabilities = 1 / (1 + np.exp(-np.array(logits)))
    threshold = bundle.decision.threshold
    assert (probabilities.min(axis=0) < threshold).all()
    assert (probabilities.max(axis=0) > threshold).all()
    assert (np.std(logits, axis=0) >= 1).all()
    assert np.min(scores) < bundle.fusion.low_confidence_cutoff < np.max(scores)


def test_replacing_a_bundle_by_the_same_recipe_gives_the_same_bytes(
    tmp_path, small_bundle, monkeypatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    recipe = write_recipe(tmp_path)
    told: list[tuple[str, float]] = []
    (tmp_path / "again").mkdir()
    for stale in ("bundle.json", "stale.onnx"):
        (tmp_path / "again" / stale).touch()
    export_bundle(
        recipe,
        tmp_path / "again",
        lambda text, fraction: told.append((text, fraction)),
        replace=True,
        architectures=SMALL,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "recipe.toml"]
    assert not (tmp_path / "again" / "stale.onnx").exists()
    first, again = read_bundle(small_bundle), read_bundle(tmp_path / "again")
    assert again.provenance.created_at == "2001-09-09T01:46:40Z"
    assert list(first.files) == list(again.files)
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert told[0][1] == 0
    assert told[-1] == ("done", 1.0)


def test_more_candidates_than_class_scores_are_refused(tmp_path) -> None:
    text = RECIPE.replace("candidates = 30", "candidates = 141")
    with pytest.raises(RecipeError, match="returns only 140"):
        failing(tmp_path, text)


def failing(tmp_path: Path, text: str = RECIPE, **options) -> None:
    export_bundle(
        write_recipe(tmp_path, text),
        tmp_path / "bundle",
        silent,
        architectures=SMALL,
        **options,
    )


def test_a_failed_parity_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    tight = dict.fromkeys(TOLERANCES["fp32"], -1.0)
    monkeypatch.setattr("spinert.proto.agreement.TOLERANCES", {"fp32": tight})
    named = r"classifier\.onnx: golden .+, batch 1, slot 0"
    with pytest.raises(ParityError, match=named):
        failing(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_a_missing_checkpoint_leaves_nothing_behind(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        failing(tmp_path, RECIPE.replace("untrained:1", "absent.pth"))
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("final_relu = 1", "must be of type bool"),
        ("eps = 1.0", "no option 'eps'; one of final_relu"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, options, message) -> None:
    text = RECIPE.replace('"untrained:1"', f'"untrained:1"\noptions.{options}')
    with pytest.raises(RecipeError, match=message):
        failing(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "replace", "message"),
    [
        ("notes.txt", True, "exists and is not a bundle"),
        ("bundle.json", False, "a bundle is there"),
    ],
)
def test_an_occupied_directory_is_not_touched(tmp_path, name, replace, message) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / name).write_text("{}")
    with pytest.raises(DestinationError, match=message):
        failing(tmp_path, replace=replace)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == [name]
