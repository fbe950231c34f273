"""Tables, curves and sweeps over findings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.scored_images import CLASSES, case, classified, drawn_pairs, prediction

from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.detection import detection_table
from spinert.evaluation.errors import PredictionError
from spinert.evaluation.froc import OPERATING_POINTS, froc_of
from spinert.evaluation.fusion_sweep import fusion_sweep
from spinert.evaluation.matching import matches_of
from spinert.evaluation.pairs import Pairs, paired

HERE, THERE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
FEW = Bootstrap(resamples=200)
OSTEOPHYTES, IMPLANT, OTHER = CLASSES


def pairs_of(*images):
    """Build images of (lesions, probability, findings)."""
    names = [f"image{index}" for index in range(len(images))]
    return Pairs(
        cases=tuple(case(n, *i[0]) for n, i in zip(names, images, strict=True)),
        predictions=tuple(
            prediction(n, i[1], *i[2]) for n, i in zip(names, images, strict=True)
        ),
    )


def refused_by_fusion(pairs, threshold, cutoff):
    """Apply the paper's fusion to the findings themselves."""
    predictions = []
    for old in pairs.predictions:
        is_abnormal = old.probability >= threshold
        boxes = tuple(
            replace(box, kept=is_abnormal or box.score >= cutoff) for box in old.boxes
        )
        predictions.append(replace(old, boxes=boxes))
    return replace(pairs, predictions=tuple(predictions))


def test_a_table_tells_the_detector_from_the_whole_framework():
    lesion, alarm = (OSTEOPHYTES, HERE), (OSTEOPHYTES, THERE, 0.9, False)
    pairs = pairs_of(([lesion], 0.9, [(*lesion, 0.4)]), ([], 0.1, [alarm]))
    detector = detection_table(pairs, CLASSES, name="Detector", kept_only=False)
    framework = detection_table(pairs, CLASSES, name="Framework", kept_only=True)
    assert detector.classes[0].ap50 == pytest.approx(0.5)
    assert framework.classes[0].ap50 == pytest.approx(1.0)
    assert (detector.findings, framework.findings) == (2, 1)
    assert (detector.name, framework.name) == ("Detector", "Framework")


def test_a_class_without_lesions_has_no_ap_and_does_not_count():
    lesion = (OSTEOPHYTES, HERE)
    pairs = pairs_of(([lesion], 0.9, [(*lesion, 0.4), (IMPLANT, THERE, 0.9)]))
    table = detection_table(pairs, CLASSES, name="", kept_only=False)
    assert [c.ap50 for c in table.classes] == pytest.approx([1.0, None, None])
    assert [c.lesions for c in table.classes] == [1, 0, 0]
    assert table.map50.value == pytest.approx(1.0)


def test_the_mean_over_ious_rewards_a_box_that_half_one_does_not():
    # IoU 0.4: a hit at 0.2, 0.25, 0.3, 0.35 and 0.4.
    found = (OSTEOPHYTES, (0.0, 0.0, 4.0, 10.0), 0.9)
    pairs = pairs_of(([(OSTEOPHYTES, HERE)], 0.9, [found]))
    (row, *_) = detection_table(pairs, CLASSES, name="", kept_only=False).classes
    assert row.ap50 == 0.0
    assert row.ap20_50 == pytest.approx(5 / 7)


@pytest.mark.parametrize("findings", [[], [(OSTEOPHYTES, HERE, 0.9)]])
def test_without_any_lesion_there_is_no_map(findings):
    table = detection_table(
        pairs_of(([], 0.1, findings)),
        CLASSES,
        name="",
        kept_only=False,
        bootstrap=FEW,
    )
    assert table.map50.value is None
    assert table.map50.reason == "no lesion of any class is annotated"
    assert table.map20_50 is None


def test_lesions_without_any_finding_have_an_ap_of_zero():
    pairs = pairs_of(([(OSTEOPHYTES, HERE)], 0.9, []))
    table = detection_table(pairs, CLASSES, name="", kept_only=False, bootstrap=FEW)
    assert table.map50.value == 0.0
    assert (table.map50.low, table.map50.high) == (0.0, 0.0)


def test_the_interval_of_map_holds_its_value_and_narrows_with_images():
    def width(images):
        table = detection_table(
            drawn_pairs(2, images), CLASSES, name="", kept_only=True, bootstrap=FEW
        )
        assert table.map50.low < table.map50.value < table.map50.high
        return table.map50.high - table.map50.low

    assert width(320) < width(20)


def test_pycocotools_says_nothing_on_the_terminal(capsys):
    detection_table(drawn_pairs(1, 3), CLASSES, name="", kept_only=False)
    assert capsys.readouterr().out == ""


def test_froc_counts_false_alarms_of_all_images():
    lesion = (OSTEOPHYTES, HERE)
    pairs = pairs_of(
        ([lesion], 0.9, [(*lesion, 0.8), (OSTEOPHYTES, THERE, 0.9)]),
        ([(OSTEOPHYTES, THERE), (IMPLANT, HERE)], 0.9, [(OSTEOPHYTES, THERE, 0.7)]),
        ([], 0.1, [(IMPLANT, HERE, 0.8)]),
        ([], 0.1, []),
    )
    osteophytes, implant, other, everything = froc_of(matches_of(pairs, CLASSES))
    assert osteophytes.thresholds.tolist() == [0.9, 0.8, 0.7]
    assert osteophytes.false_positives_per_image.tolist() == [0.25, 0.25, 0.25]
    assert osteophytes.sensitivity.tolist() == [0.0, 0.5, 1.0]
    assert dict(osteophytes.at)[0.125] == 0.0
    assert dict(osteophytes.at)[0.25] == 1.0
    assert osteophytes.mean_sensitivity == pytest.approx(6 / 7)
    assert implant.sensitivity.tolist() == [0.0]
    assert (other.lesions, other.at, other.mean_sensitivity) == (0, (), None)
    # The implant of 0.8 and the osteophyte of 0.8 are one step.
    assert everything.label is None
    assert everything.thresholds.tolist() == [0.9, 0.8, 0.7]
    assert everything.false_positives_per_image.tolist() == [0.25, 0.5, 0.5]
    assert everything.sensitivity == pytest.approx([0.0, 1 / 3, 2 / 3])


def test_froc_of_many_images_is_what_counting_says():
    pairs = drawn_pairs(9, 60, coarse=True)
    matches = matches_of(pairs, CLASSES)
    curve = froc_of(matches)[-1]
    hits = np.concatenate([m.hits[-1] for m in matches])
    scores = np.concatenate([m.scores for m in matches])
    for threshold, alarms, sensitivity in zip(
        curve.thresholds,
        curve.false_positives_per_image,
        curve.sensitivity,
        strict=True,
    ):
        counted = scores >= threshold
        assert alarms == (counted & ~hits).sum() / 60
        assert sensitivity == (counted & hits).sum() / curve.lesions
    assert [x for x, _ in curve.at] == list(OPERATING_POINTS)


def test_froc_without_findings_finds_nothing():
    pairs = pairs_of(([(OSTEOPHYTES, HERE)], 0.9, []))
    curve = froc_of(matches_of(pairs, CLASSES))[-1]
    assert curve.thresholds.size == 0
    assert curve.mean_sensitivity == 0.0


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "many ties"])
def test_the_sweep_is_what_fusion_with_each_choice_would_give(coarse):
    pairs = drawn_pairs(4, 60, coarse=coarse)
    thresholds, cutoffs = (0.0, 0.3, 0.5, 0.9), (0.0, 0.5, 0.8, 1.01)
    found = fusion_sweep(pairs, CLASSES, thresholds=thresholds, cutoffs=cutoffs)
    for row, cutoff in enumerate(cutoffs):
        for column, threshold in enumerate(thresholds):
            fused = refused_by_fusion(pairs, threshold, cutoff)
            table = detection_table(fused, CLASSES, name="", kept_only=True)
            expected = table.map50.value
            assert found.map50[row][column] == pytest.approx(expected, abs=1e-9)
    assert found.best.map50 == max(map(max, found.map50))
    row, column = cutoffs.index(found.best.cutoff), found.best.threshold
    assert found.map50[row][thresholds.index(column)] == found.best.map50
    assert found.detector_only == found.map50[0][0]


def test_a_sweep_without_lesions_is_absent():
    assert fusion_sweep(classified([False, True], [0.1, 0.9]), CLASSES) is None


def test_predictions_are_put_in_the_order_of_the_cases():
    pairs = drawn_pairs(1, 5)
    found, missing = paired(pairs.cases, reversed(pairs.predictions[1:]))
    assert [p.image_id for p in found.predictions] == [
        c.image_id for c in pairs.cases[1:]
    ]
    assert missing == ("image0",)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([prediction("a", 0.1), prediction("a", 0.2)], "two predictions"),
        ([prediction("a", 0.1), prediction("z", 0.2)], "not annotated.* z;"),
        ([], "no annotated image"),
        (
            [prediction("a", 0.1), prediction("b", 0.2, members=[0.1, 0.2])],
            "different sizes",
        ),
    ],
)
def test_predictions_that_do_not_belong_to_the_cases_are_refused(predictions, message):
    with pytest.raises(PredictionError, match=message):
        paired([case("a"), case("b")], predictions)


def test_pairs_in_another_order_are_refused():
    with pytest.raises(PredictionError, match="same images"):
        Pairs(
            cases=(case("a"), case("b")),
            predictions=(prediction("b", 0.1), prediction("a", 0.1)),
        )
