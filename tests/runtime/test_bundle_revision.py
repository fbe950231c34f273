"""A bundle with other choices and the same networks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from rich.console import Console
from support.bundles import tiny_spec, write_tiny_bundle

from spinert.proto import inference_pb2 as pb
from spinert.runtime.bundle import load_bundle
from spinert.runtime.bundle_revision import (
    BundleChange,
    RevisionRecord,
    revised_version,
    write_revision,
)
from spinert.runtime.errors import ConfigError
from spinert.runtime.report.manifest import manifest_view

RECORD = RevisionRecord(
    version="1+cal.20300504",
    tool="spinert calibrate 9.9",
    made_at=datetime(2030, 5, 4, 3, 2, 1, tzinfo=timezone(timedelta(hours=2))),
    note="Youden on 100 cases",
)


def limits() -> pb.Constancy:
    told = pb.Constancy(
        seed=1,
        long_edge_px=512,
        phantom_version="1",
        score_tolerance=0.02,
        box_iou_min=0.5,
        finding_floor=0.5,
        latency_limit_s=1.0,
    )
    told.cases.add(index=0, abnormal_probability=0.1, decision=pb.DECISION_NORMAL)
    return told


def decisions(spec):
    return spec.decision, spec.fusion


@pytest.fixture
def bundle(tmp_path):
    return load_bundle(write_tiny_bundle(tmp_path / "old"))


def revise(bundle, output, record=RECORD, *, with_replace=False, **change):
    return write_revision(
        bundle, output, BundleChange(**change), record, replace=with_replace
    )


def test_a_revision_differs_in_what_was_changed_alone(bundle, tmp_path):
    output = tmp_path / "new"
    revise(
        bundle,
        output,
        threshold=0.4,
        uncertain=(0.3, 0.5),
        low_confidence_cutoff=0.25,
        constancy=limits(),
    )
    found = load_bundle(output).spec
    decision = found.decision
    chosen = (decision.threshold, decision.uncertain_from, decision.uncertain_to)
    assert chosen == (0.4, 0.3, 0.5)
    assert found.fusion.low_confidence_cutoff == 0.25
    assert found.constancy == limits()
    found.ClearField("constancy")
    found.decision.CopyFrom(bundle.spec.decision)
    found.fusion.CopyFrom(bundle.spec.fusion)
    found.version = bundle.spec.version
    found.ClearField("provenance")
    assert found == bundle.spec


def test_provenance_says_what_was_made_from_what(bundle, tmp_path):
    first = revise(bundle, tmp_path / "new", threshold=0.4)
    again = replace(RECORD, version="2", note="once more")
    second = revise(first, tmp_path / "newer", again, threshold=0.5)
    told = second.spec.provenance.revisions
    assert [entry.of_sha256 for entry in told] == [bundle.sha256, first.sha256]
    assert told[0].made_at == "2030-05-04T01:02:01Z"
    assert told[0].tool == "spinert calibrate 9.9"
    assert [entry.note for entry in told] == ["Youden on 100 cases", "once more"]
    assert second.spec.version == "2"


def test_the_given_bundle_stays_as_it_is(bundle, tmp_path):
    before = bundle.spec.SerializeToString(deterministic=True)
    revise(bundle, tmp_path / "new", threshold=0.4)
    assert bundle.spec.SerializeToString(deterministic=True) == before
    assert load_bundle(bundle.directory).sha256 == bundle.sha256


def test_a_revision_shares_no_file_with_the_bundle_it_was_made_from(bundle, tmp_path):
    revise(bundle, tmp_path / "new", threshold=0.4)
    name = "networks/detector.onnx"
    assert not (tmp_path / "new" / name).samefile(bundle.directory / name)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.4},
        {"uncertain": (0.3, 0.5)},
        {"low_confidence_cutoff": 0.25},
    ],
)
def test_any_other_decision_ends_the_limits_that_were_measured_with_the_old(
    bundle, tmp_path, change
):
    limited = revise(bundle, tmp_path / "limited", constancy=limits())
    assert limited.spec.HasField("constancy")
    changed = revise(limited, tmp_path / "new", replace(RECORD, version="2"), **change)
    assert decisions(changed.spec) != decisions(limited.spec)
    assert not changed.spec.HasField("constancy")
    assert "limits of the constancy test were removed" in (
        changed.spec.provenance.revisions[-1].note
    )


def test_reverse_fusion_takes_the_threshold_where_it_decides(tmp_path):
    spec = tiny_spec()
    spec.fusion.reverse.threshold = 0.5
    spec.fusion.reverse.no_box_score = 0.1
    bundle = load_bundle(write_tiny_bundle(tmp_path / "old", spec))
    found = revise(bundle, tmp_path / "new", threshold=0.4).spec
    assert found.fusion.reverse.threshold == 0.4
    assert found.decision.threshold == spec.decision.threshold


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"threshold": 1.5}, r"decision\.threshold: must lie in \(0, 1\)"),
        ({"uncertain": (0.6, 0.5)}, "uncertain_from: must not exceed"),
        ({"constancy": pb.Constancy(phantom_version="1")}, "constancy.cases: must be"),
    ],
)
def test_a_choice_that_no_server_would_take_is_refused(bundle, tmp_path, change, why):
    with pytest.raises(ConfigError, match=why):
        revise(bundle, tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_a_version_is_never_used_twice(bundle, tmp_path):
    with pytest.raises(ConfigError, match="has version 1 already"):
        revise(bundle, tmp_path / "new", replace(RECORD, version="1"), threshold=0.4)


def test_a_bundle_is_replaced_only_when_asked_for(bundle, tmp_path):
    output = write_tiny_bundle(tmp_path / "new")
    (output / "stale").write_text("gone afterwards")
    with pytest.raises(ConfigError, match="a bundle is there"):
        revise(bundle, output, threshold=0.4)
    revise(bundle, output, threshold=0.4, with_replace=True)
    assert load_bundle(output).spec.decision.threshold == 0.4


def test_a_bundle_can_take_its_own_place(bundle):
    revise(bundle, bundle.directory, threshold=0.4, with_replace=True)
    assert load_bundle(bundle.directory).spec.decision.threshold == 0.4
    assert [path.name for path in bundle.directory.parent.iterdir()] == ["old"]


def test_what_is_not_a_bundle_is_never_replaced(bundle, tmp_path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="is not a bundle"):
        revise(bundle, other, threshold=0.4, with_replace=True)
    assert (other / "thesis.tex").read_text() == "precious"


def test_a_failure_half_way_leaves_nothing_behind(bundle, tmp_path):
    (bundle.directory / "networks" / "detector.onnx").unlink()
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        revise(bundle, tmp_path / "new", threshold=0.4)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_versions_tell_every_revision():
    first = revised_version("1", "cal", date(2030, 5, 4))
    assert first == "1+cal.20300504"
    assert revised_version(first, "limits", date(2030, 5, 6)) == (
        "1+cal.20300504.limits.20300506"
    )


def test_inspect_shows_revisions_and_limits(bundle, tmp_path):
    revised = revise(bundle, tmp_path / "new", constancy=limits())
    console = Console(width=200, record=True)
    with console.capture() as captured:
        console.print(manifest_view(revised))
    text = captured.get()
    assert "2030-05-04T01:02:01Z by spinert calibrate 9.9: Youden on 100 cases" in text
    assert "1 phantoms of 512 px, scores within 0.02" in text
