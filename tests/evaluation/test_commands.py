"""`spinert evaluate` and `spinert calibrate`, as they are typed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from support.bundles import CLASSES
from support.evaluation_jobs import evaluation_bundle
from support.evaluations import Radiograph, lesion, write_vindr

from spinert.commands.calibrate import calibrate
from spinert.commands.evaluate import evaluate
from spinert.evaluation.errors import SplitError, StoreError
from spinert.runtime.bundle import load_bundle
from spinert.runtime.errors import ConfigError


def images(count: int = 10) -> list[Radiograph]:
    """Every other image has a lesion and is a little brighter than its neighbour."""
    return [
        Radiograph(
            f"i{n}",
            90 + 8 * n + 30 * (n % 2),
            (lesion(CLASSES[n % 3]),) if n % 2 else (),
        )
        for n in range(count)
    ]


def run(command, *words, code=0):
    done = CliRunner().invoke(command, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bundle, a data set with the splits val and test, and a report on val."""
    folder = tmp_path_factory.mktemp("commands")
    evaluation_bundle(folder / "bundle")
    for split in ("val", "test"):
        write_vindr(folder / "data", images(), split=split)
    (folder / "config.toml").write_text(
        '[backend]\nname = "fake"\n\n[decode]\nworkers = 1\n'
    )
    run(evaluate, *flags(folder), "--split", "val", "-o", folder / "report")
    return folder


def flags(folder):
    return (
        *("--bundle", folder / "bundle", "--data", folder / "data"),
        *("--config", folder / "config.toml", "--bootstraps", "20"),
        *("--pictures", "0"),
    )


def calibration(folder, *words):
    return (
        *("--bundle", folder / "bundle", "--data", folder / "data"),
        *("--predictions", folder / "report", *words),
    )


def test_evaluate_writes_a_report_of_the_split_it_was_given(place):
    values = json.loads((place / "report" / "report.json").read_text())
    assert values["split"] == "val"
    assert values["annotations"]["table"] == "val.csv"
    assert values["bootstrap"]["resamples"] == 20


def test_an_image_without_any_answer_ends_with_one_and_a_refusal_with_zero(
    place, tmp_path
):
    data = tmp_path / "data"
    write_vindr(data, images())
    words = ("--bundle", place / "bundle", "--data", data, "--bootstraps", "9")
    words += ("--config", place / "config.toml", "--pictures", "0")
    broken = data / "test_images" / "i3.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    run(evaluate, *words, "-o", tmp_path / "report")
    broken.unlink()
    broken.symlink_to(tmp_path)  # a folder: it cannot be read
    output = run(evaluate, *words, "-o", tmp_path / "report", code=1)
    assert "UNREADABLE: 1 image without an answer" in output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give --bundle or --server"),
        (("--bundle", "x", "--threshold", "1.5"), "a number from 0 to 1, or youden"),
        (("--bundle", "x", "--threshold", "best"), "a number from 0 to 1, or youden"),
        (
            ("--bundle", "x", "--compare", "y", "--against-precision", "fp16"),
            "either --compare or --against",
        ),
    ],
)
def test_flags_that_cannot_be_are_refused_at_once(tmp_path, words, told):
    words = ("--data", tmp_path, "-o", tmp_path / "report", *words)
    assert told in run(evaluate, *words, code=2)
    assert not (tmp_path / "report").exists()


def test_a_server_runs_no_second_precision(place, tmp_path):
    words = ("--server", "127.0.0.1:1", "--data", place / "data", "-o", tmp_path)
    with pytest.raises(ConfigError, match="leave --server out"):
        run(evaluate, *words, "--against-precision", "fp16")


def test_calibrate_writes_a_new_version_and_leaves_the_old(place, tmp_path):
    before = (place / "bundle" / "bundle.json").read_bytes()
    words = calibration(place, "--split", "val", "-o", tmp_path / "new")
    output = run(calibrate, *words)
    assert (place / "bundle" / "bundle.json").read_bytes() == before
    for word in ("before", "after", "threshold", "UNCERTAIN", "10 images, 5 abnormal"):
        assert word in output
    old, new = load_bundle(place / "bundle"), load_bundle(tmp_path / "new")
    assert new.spec.version.startswith(f"{old.spec.version}+cal.")
    assert new.spec.decision.threshold != old.spec.decision.threshold
    decision = new.spec.decision
    assert decision.uncertain_from <= decision.threshold <= decision.uncertain_to
    assert f"{decision.threshold:.4f}" in output
    [revision] = new.spec.provenance.revisions
    assert revision.of_sha256 == old.sha256
    assert "split 'val'" in revision.note


def test_what_was_calibrated_decides_so_when_evaluated(place, tmp_path):
    run(calibrate, *calibration(place, "--split", "val", "-o", tmp_path / "new"))
    words = dict(zip(flags(place)[::2], flags(place)[1::2], strict=True))
    words["--bundle"] = tmp_path / "new"
    given = [word for pair in words.items() for word in pair]
    run(evaluate, *given, "--split", "val", "-o", tmp_path / "report")
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    youden = json.loads((place / "report" / "report.json").read_text())
    ensemble = values["classification"][-1]
    decision = load_bundle(tmp_path / "new").spec.decision
    assert ensemble["threshold"] == decision.threshold
    index = ensemble["sensitivity"]["value"] + ensemble["specificity"]["value"]
    old = youden["classification"][-1]
    assert index >= old["sensitivity"]["value"] + old["specificity"]["value"]


def test_calibrate_without_an_output_only_shows(place):
    output = run(calibrate, *calibration(place, "--split", "val"))
    assert "nothing was written" in output


def test_no_band_is_a_threshold_alone(place, tmp_path):
    words = calibration(place, "--split", "val", "--no-band", "-o", tmp_path / "new")
    assert "no band" in run(calibrate, *words)
    decision = load_bundle(tmp_path / "new").spec.decision
    assert decision.uncertain_from == decision.uncertain_to


def test_the_test_split_is_not_calibrated_on_by_accident(place, tmp_path):
    with pytest.raises(SplitError, match="--allow-test-split"):
        run(calibrate, *calibration(place, "--split", "test"))
    table = place / "data" / "annotations" / "test.csv"
    with pytest.raises(SplitError, match="'test' is a test split"):
        run(calibrate, *calibration(place, "--split", "val", "--annotations", table))


def test_predictions_made_on_the_test_split_are_not_used_under_another_name(
    place, tmp_path
):
    run(evaluate, *flags(place), "--split", "test", "-o", tmp_path / "report")
    words = ["--bundle", place / "bundle", "--data", place / "data", "--split", "val"]
    words += ["--predictions", tmp_path / "report"]
    with pytest.raises(SplitError, match="'test' is a test split"):
        run(calibrate, *words)
    assert "after" in run(calibrate, *words, "--allow-test-split")


def test_predictions_of_another_bundle_are_not_calibrated_on(place, tmp_path):
    run(calibrate, *calibration(place, "--split", "val", "-o", tmp_path / "new"))
    words = calibration(place, "--split", "val")
    words = [tmp_path / "new" if w == place / "bundle" else w for w in words]
    with pytest.raises(StoreError, match="another than"):
        run(calibrate, *words)


def test_images_without_a_stored_answer_are_told(place, tmp_path):
    store = tmp_path / "predictions.jsonl"
    lines = (place / "report" / "predictions.jsonl").read_text().splitlines()
    store.write_text("\n".join(lines[:-2]) + "\n")
    words = calibration(place, "--split", "val")
    words = [store if w == place / "report" else w for w in words]
    assert "2 of 10 images have no answer" in run(calibrate, *words)
