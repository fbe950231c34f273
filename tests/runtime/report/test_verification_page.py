from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from support.golden import write_golden_bundle

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Capabilities
from spinert.runtime.bundle import load_bundle
from spinert.runtime.errors import ConfigError
from spinert.runtime.gate.report import GateMeasure, GateReport, NetworkGate
from spinert.runtime.report.html import element, text
from spinert.runtime.report.verification_page import (
    page_from_verification,
    require_place,
    write_page,
)
from spinert.runtime.report.verify import (
    BackendCheck,
    Verification,
    json_from_verification,
    tables_from_verification,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
NASTY = "<script>alert('x')</script> & \"quoted\""


class Reader(HTMLParser):
    """Reads text, tags and attributes; fails on tags that are not closed."""

    VOID = ("meta",)

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.tags, self.rows = [], [], [], []
        self.feed(page)
        assert self.open == []
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if "td" in self.open and "svg" not in self.open:
            self.rows[-1].append(data)

    def bars(self):
        """Return (class, width) of every bar."""
        rectangles = [a for tag, a in self.tags if tag == "rect"]
        return [(a["class"], float(a["width"])) for a in rectangles[1::2]]


def measure(output="logits", largest=1e-4, tolerance=1e-3):
    return GateMeasure(
        output=output,
        measured_max_abs=largest,
        measured_mean_abs=largest / 2,
        tolerance_abs=tolerance,
    )


def gate(*measures, **changes):
    return replace(
        NetworkGate(
            network="classifier",
            file="networks/classifier.onnx",
            precision="fp32",
            frames=3,
            batch_sizes=(1, 2, 3),
            measures=measures,
            decision_flips=0,
            seconds=1.25,
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_golden_bundle(tmp_path_factory.mktemp("golden")))


def verification(bundle, *gates, spec=None, is_fallback=False):
    check = BackendCheck(
        capabilities=Capabilities(
            name="onnxruntime",
            version="1.31.1",
            precision="fp32",
            device="cpu",
            threads=2,
            concurrent_networks=True,
        ),
        gate=GateReport(networks=gates),
        is_fallback=is_fallback,
    )
    bundle = replace(bundle, spec=spec or bundle.spec)
    return Verification(bundle=bundle, machine="Some CPU", checks=(check,))


def read(found):
    return Reader(page_from_verification(found, NOW))


def test_a_page_says_what_was_verified_where_and_when(bundle):
    page = read(verification(bundle, gate(measure())))
    for words in (
        "tiny 1",
        "PASSED",
        "Research use only: not a medical device.",
        "for tests only",
        bundle.sha256,
        "Some CPU",
        "2030-01-02T03:04:05+00:00",
        "onnxruntime 1.31.1 on cpu, 2 threads",
        "networks/classifier.onnx: 3 golden frames, every slot of batches of 1 to 3",
        "no decision flips",
    ):
        assert words in page.text
    assert "FAILED" not in page.text


def test_a_failure_is_shown_with_its_reason(bundle):
    failed = gate(measure(largest=1.0), failure="slot 2 is wrong", decision_flips=1)
    page = read(verification(bundle, failed))
    assert "FAILED" in page.text
    assert "PASSED" not in page.text
    assert "slot 2 is wrong" in page.text
    assert "1 decision flip" in page.text
    assert ("tr", {"class": "bad"}) in page.tags


def test_figures_of_every_output_are_in_the_table(bundle):
    page = read(verification(bundle, gate(measure(), measure("boxes", 0.25, 2.0))))
    assert ["logits", "1.0e-04", "5.0e-05", "0.001"] in page.rows
    assert ["boxes, network px", "0.25", "0.12", "2"] in page.rows


@pytest.mark.parametrize(
    ("largest", "tolerance", "expected"),
    [
        (0.0, 1e-3, ("bar", 0)),
        (0.0, 0.0, ("bar", 0)),
        (1e-3, 1e-3, ("bar", 500)),
        (1e-4, 1e-3, ("bar", 400)),
        (1e-12, 1e-3, ("bar", 6)),
        (1e-2, 1e-3, ("bar bad", 600)),
        (5.0, 1e-3, ("bar bad", 600)),
        (1.0, 0.0, ("bar bad", 600)),
        (float("inf"), 1e-3, ("bar bad", 600)),
        (float("nan"), 1e-3, ("bar bad", 600)),
    ],
)
def test_a_bar_shows_the_distance_to_the_tolerance(
    bundle, largest, tolerance, expected
):
    page = read(verification(bundle, gate(measure("x", largest, tolerance))))
    assert page.bars()[0] == (expected[0], pytest.approx(expected[1]))


def with_half(bundle):
    spec = pb.Bundle.FromString(bundle.spec.SerializeToString())
    network = spec.networks["classifier"]
    network.parity.reference = "torch 2.13.0"
    parity = pb.Parity(
        reference="golden set",
        compared="onnxruntime, float16 emulated in float32",
        batch_sizes=[1, 2],
        outputs=[
            pb.OutputParity(
                output="logits",
                tolerance_abs=0.05,
                measured_max_abs=0.01,
                measured_mean_abs=0.002,
            )
        ],
        decision_flips=2,
    )
    form = network.forms.add(
        file="networks/classifier.fp16.onnx", precision="fp16", parity=parity
    )
    form.kept_fp32.add(node="one", operator="Conv", reason="range: max |x| = 1e5")
    form.kept_fp32.add(node="two", operator="Mul", reason="box arithmetic")
    form.kept_fp32.add(node="three", operator="Mul", reason="box arithmetic")
    form.kept_fp32.add(node=NASTY, operator="Add", reason="box arithmetic")
    return spec


def test_the_export_tells_of_both_precisions_and_what_stayed_in_float32(bundle):
    page = read(verification(bundle, gate(measure()), spec=with_half(bundle)))
    for words in (
        "fp16, networks/classifier.fp16.onnx",
        "onnxruntime, float16 emulated in float32 against golden set, "
        "batches of 1, 2; 2 decision flips",
        "computed in float32 all the same: 4 nodes",
        "box arithmetic: 2 Mul, 1 Add",
        "range: max |x| = 1e5: 1 Conv",
        "two, three",
    ):
        assert words in page.text
    assert ["logits", "0.01", "0.002", "0.05"] in page.rows
    # The larger group comes first.
    assert page.text.index("box arithmetic") < page.text.index("range:")


def test_the_fallback_and_what_was_recomputed_are_named(bundle):
    again = gate(measure(), is_recomputed=True, frames=1, batch_sizes=(1,))
    page = read(verification(bundle, again, is_fallback=True))
    assert "fallback: onnxruntime 1.31.1" in page.text
    assert "classifier, FP32, recomputed by its split graphs" in page.text
    assert "1 golden frame, every slot of batches of 1," in page.text


def test_nothing_of_a_bundle_can_become_markup(bundle):
    spec = with_half(bundle)
    spec.name = spec.notice = spec.provenance.preset = NASTY
    spec.networks["classifier"].import_options[NASTY] = NASTY
    spec.provenance.checkpoints.add(role="detector", source=NASTY, notes=[NASTY])
    page = read(verification(bundle, gate(measure(), failure=NASTY), spec=spec))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert page.text.count(NASTY) >= 7


def test_a_page_needs_nothing_from_elsewhere(bundle):
    page = page_from_verification(verification(bundle, gate(measure())), NOW)
    for word in ("http://", "https://", "src=", "@import", "url("):
        assert word not in page


def test_attributes_are_escaped():
    assert element("i", title='"><b>') == '<i title="&quot;&gt;&lt;b&gt;"></i>'
    assert text("<") == "&lt;"


def test_a_page_replaces_one_that_is_there(bundle, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_page(path, verification(bundle, gate(measure())))
    assert path.read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written_is_a_typed_error(bundle, tmp_path):
    with pytest.raises(ConfigError, match="cannot write"):
        write_page(tmp_path, verification(bundle, gate(measure())))
    require_place(tmp_path / "report.html")
    with pytest.raises(ConfigError, match="does not exist"):
        require_place(tmp_path / "absent" / "report.html")


@pytest.mark.parametrize(
    ("precision", "words"), [("fp16", "FP16, emulated on CPU"), ("fp32", "FP32")]
)
def test_what_a_processor_only_emulates_is_called_so_everywhere(
    bundle, precision, words
):
    found = verification(bundle, gate(measure(), precision=precision))
    (check,) = found.checks
    told = replace(check.capabilities, precision=precision)
    found = replace(found, checks=(replace(check, capabilities=told),))
    (table,) = tables_from_verification(found)
    assert f"(cpu, {words}): " in table.title
    assert f"classifier, {words} " in read(found).text + " "
    (backend,) = json.loads(json_from_verification(found))["backends"]
    assert [network["precision_text"] for network in backend["networks"]] == [words]
    assert backend["networks"][0]["precision"] == precision


def test_what_an_approximation_changed_is_on_the_page_and_in_the_object(bundle):
    spec = pb.Bundle.FromString(bundle.spec.SerializeToString())
    option = {"option": "roi_sampling", "default_value": "0", "used_value": "2"}
    spec.networks["detector"].deviations.add(findings=1, lost=1, **option)
    found = verification(bundle, gate(measure()), spec=spec)
    page = read(found)
    told = "roi_sampling = 2 instead of 0: 1 of 1 finding lost, 0 invented, 0 decision"
    assert told in page.text
    assert ("p", {"class": "notice"}) in page.tags
    (entry,) = json.loads(json_from_verification(found))["deviations"]
    assert {"network": "detector", **option}.items() <= entry.items()
    assert (entry["lost"], entry["decision_flips"]) == (1, 0)
    plain = verification(bundle, gate(measure()))
    assert json.loads(json_from_verification(plain))["deviations"] == []
