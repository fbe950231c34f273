"""`spinert evaluate`, from a folder of images to a report."""

from __future__ import annotations

import json
import re

import pytest
from support.bundles import tiny_spec
from support.evaluation_jobs import FAKE, evaluation_bundle, job, told
from support.evaluations import Radiograph, lesion, radiographs, write_vindr
from support.evaluations import write_images as written
from support.servers import serving, write_served_bundle

from spinert.evaluation.deciding import Choice, ChosenBy
from spinert.evaluation.errors import (
    DataError,
    PredictionError,
    ReportError,
    SplitError,
)
from spinert.evaluation.job import Rival
from spinert.evaluation.local_source import local_source
from spinert.evaluation.problems import ProblemCode, counts_of
from spinert.evaluation.report_files import REPORT_FILES
from spinert.evaluation.running import run_cases
from spinert.evaluation.store import Store, read_store
from spinert.runtime.bundle import load_bundle
from spinert.runtime.errors import BundleError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return evaluation_bundle(tmp_path_factory.mktemp("evaluation") / "bundle")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_vindr(folder, radiographs(12))
    return folder


@pytest.fixture(scope="module")
def whole(bundle, data, tmp_path_factory):
    """An evaluation that nothing happened to, with pictures."""
    output = tmp_path_factory.mktemp("report")
    return told(job(data, output, bundle=bundle, pictures=3))


def figures(report: str) -> dict:
    """Return report.json without what differs from run to run."""
    values = json.loads(report)
    del values["made_at"], values["images"]["continued"]
    return values


def test_a_report_has_all_its_files_and_tables(whole):
    assert all((whole.folder / name).is_file() for name in REPORT_FILES)
    for words in ("Table 3.", "Table 4.", "Table 5.", "Ensemble", "Whole framework"):
        assert words in whole.out
        assert words in whole.text("tables.md")
        assert words in whole.text("tables.tex")
        assert words in whole.text("report.html")


def test_a_page_needs_nothing_but_itself(whole):
    page = whole.text("report.html")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "Research use only: not a medical device." in page
    assert "for tests only" in page
    assert page.count("data:image/jpeg") == len(whole.report.pictures) == 3


def test_figures_are_those_of_the_predictions(whole):
    values = figures(whole.text("report.json"))
    assert values["images"]["evaluated"] == 12
    assert values["images"]["abnormal"] == 6
    assert [row["name"] for row in values["classification"]] == [
        "first",
        "second",
        "Ensemble",
    ]
    # The fake backend ranks by brightness, and the brighter half has the lesions.
    assert values["classification"][-1]["auroc"]["value"] == 1.0
    assert values["subject"]["precision_text"] == "FP32"
    assert values["annotations"]["problems"] == []


def test_an_interrupted_evaluation_ends_as_one_that_was_not(
    bundle, data, whole, tmp_path
):
    cases = written(data / "test_images", radiographs(12))
    with (
        local_source(load_bundle(bundle), FAKE, lambda *_: None) as source,
        Store(tmp_path / "predictions.jsonl", source.subject) as store,
    ):
        run_cases(cases[:5], "test", source, store, lambda: None)
    resumed = told(job(data, tmp_path, bundle=bundle))
    assert resumed.report.found.continued == 5
    assert "5 answers are of an earlier run" in resumed.progress
    assert figures(resumed.text("report.json")) == figures(whole.text("report.json"))
    stored = read_store(tmp_path / "predictions.jsonl")
    assert stored.outcomes == read_store(whole.folder / "predictions.jsonl").outcomes


def test_a_changed_bundle_starts_over_and_says_so(bundle, data, tmp_path):
    told(job(data, tmp_path, bundle=bundle))
    spec = tiny_spec()
    spec.decision.threshold = 0.6
    other = evaluation_bundle(tmp_path / "other", spec)
    again = told(job(data, tmp_path, bundle=other))
    assert again.report.found.continued == 0
    assert "the bundle changed: starting over" in again.progress
    assert len(list(tmp_path.glob("predictions-*.jsonl"))) == 1


def test_a_server_and_this_process_make_the_same_report(tmp_path, data):
    bundle = write_served_bundle(tmp_path / "bundle")
    here = told(job(data, tmp_path / "here", bundle=bundle))
    with serving(bundle, tmp_path / "work") as server:
        there = told(
            job(data, tmp_path / "there", server=server.address, bundle=bundle)
        )
        blind = told(job(data, tmp_path / "blind", server=server.address))
    local, remote = (figures(t.text("report.json")) for t in (here, there))
    assert local["subject"].pop("device") == "none"
    assert remote["subject"].pop("device") == ""
    assert local == remote
    assert blind.report.found.classification == here.report.found.classification


def test_another_precision_is_run_and_compared(bundle, data, tmp_path):
    rival = Rival(precision="fp16")
    found = told(job(data, tmp_path, bundle=bundle, rival=rival))
    comparison = found.report.versus.comparison
    assert found.report.versus.subject.precision == "fp16"
    assert comparison.auroc.difference.value == 0
    assert comparison.max_probability_difference == 0
    assert comparison.image_flips == ()
    assert "Decided otherwise: no images of 12, no findings." in found.out


def test_every_flip_against_another_bundle_is_listed(bundle, data, tmp_path):
    spec = tiny_spec()
    spec.decision.threshold = 0.9
    strict = evaluation_bundle(tmp_path / "strict", spec)
    output = tmp_path / "report"
    found = told(job(data, output, bundle=bundle, rival=Rival(bundle=strict)))
    flips = found.report.versus.comparison.image_flips
    assert flips
    assert all(f.abnormal_a and not f.abnormal_b for f in flips)
    page = found.text("report.html")
    assert all(f"<td>{flip.image_id}</td>" in page for flip in flips)
    assert f"Decided otherwise: {len(flips)} images of 12" in found.out


def test_stored_predictions_are_compared_without_a_bundle(
    bundle, data, whole, tmp_path
):
    rival = Rival(stored=whole.folder)
    found = told(job(data, tmp_path, bundle=bundle, rival=rival))
    assert found.report.versus.images == 12
    assert found.report.versus.comparison.finding_flips == ()


def test_a_file_that_changed_is_not_compared(bundle, data, whole, tmp_path):
    write_vindr(tmp_path / "data", radiographs(12)[:11])
    first = tmp_path / "data" / "test_images" / "image0.png"
    first.write_bytes((first.parent / "image1.png").read_bytes())
    rival = Rival(stored=whole.folder)
    found = told(job(tmp_path / "data", tmp_path / "r", bundle=bundle, rival=rival))
    assert (found.report.versus.images, found.report.versus.left_out) == (10, 1)
    assert "1 images that B has no answer for" in found.out


def test_another_threshold_decides_images_and_findings_again(bundle, data, tmp_path):
    choice = Choice(by=ChosenBy.CALLER, threshold=1.0)
    found = told(job(data, tmp_path, bundle=bundle, choice=choice)).report.found
    assert not any(p.abnormal for p in found.pairs.predictions)
    cutoff = found.operating.cutoff
    boxes = [box for p in found.pairs.predictions for box in p.boxes]
    assert {box.kept == (box.score >= cutoff) for box in boxes} == {True}
    assert found.framework.findings < found.detector.findings


def test_youden_separates_what_can_be_separated(bundle, data, tmp_path):
    choice = Choice(by=ChosenBy.YOUDEN)
    found = told(job(data, tmp_path, bundle=bundle, choice=choice))
    ensemble = found.report.found.classification[-1]
    assert ensemble.sensitivity.value == ensemble.specificity.value == 1
    assert "flatters" in found.out


# ------------------------------------------------------------------ bad input


BAD_ROWS = (
    "ghost,s,s,Osteophytes,1,2,3,4\n"  # row 10: no such image
    "image1,s,s,Martian,1,2,3,4\n"
    "image7,s,s,Osteophytes,50,60,90,99\n"
    "image7,s,s,Osteophytes,30,30,20,40\n"
    "image7,s,s,Osteophytes,one,2,3,4\n"
    "image7,s,s,Osteophytes,50,60,90,99\n"
    "image0,s,s\n"
)


def test_bad_rows_are_reported_by_row_and_the_rest_is_measured(bundle, tmp_path):
    data = tmp_path / "data"
    write_vindr(data, radiographs(8), rows=BAD_ROWS)
    written(data / "test_images", [Radiograph("stray", 90)])
    found = told(job(data, tmp_path / "report", bundle=bundle))
    problems = found.report.found.annotations.problems
    codes = {str(code): count for code, count in counts_of(problems).items()}
    assert codes == {
        "ROW_WITHOUT_IMAGE": 1,
        "UNKNOWN_LABEL": 1,
        "BOX_CLIPPED": 1,
        "INVERTED_BOX": 1,
        "BAD_NUMBER": 1,
        "DUPLICATE_ROW": 1,
        "BAD_ROW": 1,
        "IMAGE_WITHOUT_ROWS": 1,
        "CONTRADICTION": 1,
    }
    values = json.loads(found.text("report.json"))
    assert values["annotations"]["problem_counts"] == codes
    page = found.text("report.html")
    for code in codes:
        assert code in page
        assert code in found.out
    assert re.search(r"ROW_WITHOUT_IMAGE: 1, for example row 10: ghost", found.out)
    assert len(found.report.found.pairs) == 8


def test_a_refused_image_is_counted_and_named_with_its_reason(bundle, tmp_path):
    data = tmp_path / "data"
    write_vindr(data, radiographs(8))
    (data / "test_images" / "image2.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = told(job(data, tmp_path / "report", bundle=bundle))
    [refused] = found.report.found.unanswered
    assert (refused.image_id, refused.is_refusal) == ("image2", True)
    assert len(found.report.found.pairs) == 7
    page = found.text("report.html")
    assert "1 of 8 images without an answer" in page
    assert "MALFORMED_ENCODED_IMAGE" in page
    assert "MALFORMED_ENCODED_IMAGE: 1 image without an answer" in found.out
    unanswered = json.loads(found.text("report.json"))["images"]["unanswered"]
    assert [entry["image_id"] for entry in unanswered] == ["image2"]


@pytest.mark.parametrize("kind", ["normal", "abnormal"])
def test_a_split_of_one_kind_has_no_auroc_and_says_why(bundle, tmp_path, kind):
    boxes = (lesion(),) if kind == "abnormal" else ()
    images = [Radiograph(f"i{n}", 60 + 20 * n, boxes) for n in range(5)]
    write_vindr(tmp_path / "data", images)
    found = told(job(tmp_path / "data", tmp_path / "report", bundle=bundle))
    ensemble = found.report.found.classification[-1]
    assert ensemble.auroc.value is None
    absent = {"normal": "abnormal", "abnormal": "normal"}[kind]
    assert f"n/a: there is no {absent} image." in found.text("tables.md")
    counts = counts_of(found.report.found.annotations.problems)
    assert counts[ProblemCode.ONE_CLASS_SPLIT] == 1
    assert "No curves: all images are normal" in found.text("report.html")


def test_a_class_without_a_lesion_has_no_ap(bundle, data, tmp_path):
    images = [Radiograph(i.image_id, i.level, i.boxes[:0]) for i in radiographs(4)]
    images[3] = Radiograph("image3", 200, (lesion(),))
    write_vindr(tmp_path / "data", images)
    found = told(job(tmp_path / "data", tmp_path / "report", bundle=bundle))
    values = {entry.label: entry.ap50 for entry in found.report.found.detector.classes}
    assert values["Surgical implant"] is None
    assert values["Osteophytes"] is not None
    assert "| n/a |" in found.text("tables.md")


def test_names_of_images_are_no_markup(bundle, tmp_path):
    name = "<img src=x>&_$"
    images = [Radiograph(name, 240), Radiograph("b", 30, (lesion(),))]
    write_vindr(tmp_path / "data", images)
    found = told(job(tmp_path / "data", tmp_path / "r", bundle=bundle, pictures=2))
    page = found.text("report.html")
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


def test_not_one_answer_is_an_error_with_the_reasons(bundle, tmp_path):
    data = tmp_path / "data"
    write_vindr(data, radiographs(3))
    for path in (data / "test_images").iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(PredictionError, match="MALFORMED_ENCODED_IMAGE"):
        told(job(data, tmp_path / "report", bundle=bundle))


def test_youden_on_one_kind_of_image_is_an_error(bundle, tmp_path):
    write_vindr(tmp_path / "data", [Radiograph("a", 100), Radiograph("b", 150)])
    choice = Choice(by=ChosenBy.YOUDEN)
    with pytest.raises(SplitError, match="give a number with --threshold"):
        told(job(tmp_path / "data", tmp_path / "r", bundle=bundle, choice=choice))


def test_a_split_without_a_table_is_named(bundle, data, tmp_path):
    with pytest.raises(DataError, match=r"no table .*val\.csv.*--annotations"):
        told(job(data, tmp_path, bundle=bundle, split="val"))


def test_a_bundle_that_is_missing_is_named(data, tmp_path):
    with pytest.raises(BundleError, match="no bundle at"):
        told(job(data, tmp_path, bundle=tmp_path / "none"))


def test_a_report_that_cannot_be_written_fails_before_the_work(bundle, data, tmp_path):
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(ReportError, match="cannot write"):
        told(job(data, tmp_path / "report", bundle=bundle))
