"""How far is one answer from another: what is forgiven, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import (
    TOLERANCES,
    AgreementRule,
    Difference,
    agreement,
    joined,
    rule_from_bundle,
)
from spinert.proto.flips import combined_probability
from spinert.runtime.decide import combine

EXACT = AgreementRule(tolerances=TOLERANCES["fp32"], exact=True)
HALF = AgreementRule(tolerances=TOLERANCES["fp16"], exact=False)
SWITCHING = AgreementRule(tolerances=TOLERANCES["fp16"], exact=False, switching=True)
STEPPING = AgreementRule(tolerances=TOLERANCES["fp32"], exact=False, switching=True)


def answer(scores, labels, boxes=None):
    scores = np.array(scores, dtype=np.float32)
    if boxes is None:
        corner = np.arange(len(scores), dtype=np.float32)[:, None] * 100
        boxes = corner + np.array([0, 0, 40, 60], dtype=np.float32)
    return {
        "boxes": np.array(boxes, dtype=np.float32),
        "scores": scores,
        "labels": np.array(labels, dtype=np.int64),
    }


def changed(base, **rows):
    """Return a copy with `boxes={row: shift}` and the like applied."""
    other = {name: value.copy() for name, value in base.items()}
    for name, changes in rows.items():
        for row, value in changes.items():
            other[name][row] = value
    return other


def gaps(expected, actual, rule=EXACT):
    found = agreement(expected, actual, rule).differences
    return {name: difference.max_abs for name, difference in found.items()}


BASE = answer([0.9, 0.5, 0.5, 0.2], [1, 2, 3, 0])
NOTHING = {"boxes": 0.0, "scores": 0.0, "labels": 0.0}


def order(base, *rows):
    return {name: value[list(rows)] for name, value in base.items()}


# ------------------------------------------------------------- the same precision


@pytest.mark.parametrize("rule", [EXACT, HALF, STEPPING])
def test_equal_answers_do_not_differ(rule):
    switched = {"switched": 0.0} if rule.switching else {}
    assert gaps(BASE, BASE, rule) == NOTHING | switched


def test_the_order_of_equal_scores_does_not_count():
    assert gaps(BASE, order(BASE, 0, 2, 1, 3)) == NOTHING


def test_the_last_place_may_go_to_either_of_two_equals():
    other = changed(BASE, boxes={3: 777}, labels={3: 5})
    assert gaps(BASE, other)["labels"] == 0


def test_the_last_place_may_go_to_another_box_of_the_same_label():
    assert gaps(BASE, changed(BASE, boxes={3: 777})) == NOTHING
    clear = BASE["scores"][3] - np.float32(2e-4)
    longer = {
        name: np.concatenate((values, values[-1:])) for name, values in BASE.items()
    }
    longer["scores"][4] = clear
    assert gaps(longer, changed(longer, boxes={3: 777}))["boxes"] > 400


def test_a_moved_box_counts_and_is_told():
    other = changed(BASE, boxes={1: BASE["boxes"][1] + [0, 0, 0.5, 0]})
    found = agreement(BASE, other, EXACT).differences["boxes"]
    assert found.max_abs == 0.5
    assert found.index == (1, 2)
    assert (found.expected, found.actual) == (140.0, 140.5)
    assert found.mean_abs == pytest.approx(0.5 / 16)


def test_a_changed_label_is_one_lost_and_one_invented():
    found = agreement(BASE, changed(BASE, labels={2: 4}), EXACT).differences
    assert found["labels"].max_abs == 2
    assert found["labels"].index == (2,)


def test_a_changed_score_counts():
    found = gaps(BASE, changed(BASE, scores={1: 0.51}))
    assert found["scores"] == pytest.approx(0.01)
    assert found["labels"] > 0


def test_a_box_twice_is_not_two_boxes():
    other = changed(BASE, boxes={2: BASE["boxes"][1]}, labels={2: 2})
    assert gaps(BASE, other)["labels"] > 0


@pytest.mark.parametrize("rule", [EXACT, HALF, SWITCHING])
@pytest.mark.parametrize("name", ["boxes", "scores"])
def test_what_is_not_a_number_is_never_within_tolerance(rule, name):
    found = gaps(BASE, changed(BASE, **{name: {0: np.nan}}), rule)
    misses = [key for key, gap in found.items() if not gap <= rule.tolerances[key]]
    assert misses


@pytest.mark.parametrize("rule", [SWITCHING, STEPPING])
@pytest.mark.parametrize("name", ["boxes", "scores"])
def test_one_of_many_that_is_not_a_number_has_not_switched(rule, name):
    base = answer(np.linspace(0.4, 0.1, 400), np.arange(400) % 7)
    found = gaps(base, changed(base, **{name: {200: np.nan}}), rule)
    assert not found["labels"] <= rule.tolerances["labels"]


def test_a_logit_that_is_not_a_number_differs_infinitely_whatever_follows():
    good = {"logits": np.float32([1.0])}
    bad = agreement(good, {"logits": np.float32([np.nan])}, HALF).differences["logits"]
    assert bad.max_abs == np.inf
    other = agreement(good, good, HALF).differences["logits"]
    assert joined(bad, other).max_abs == joined(other, bad).max_abs == np.inf


@pytest.mark.parametrize("rule", [HALF, SWITCHING, STEPPING])
def test_a_score_that_is_not_a_number_is_an_invented_candidate(rule):
    boxes = [[0, 0, 100, 100]] * 3
    base = answer([0.9, 0.5, 0.0], [0, 0, 0], boxes)
    found = gaps(base, changed(base, scores={2: np.nan}), rule)
    assert any(not gap <= rule.tolerances[name] for name, gap in found.items())


@pytest.mark.parametrize("rule", [EXACT, HALF, SWITCHING])
def test_answers_of_different_length_differ_infinitely(rule):
    found = gaps(BASE, order(BASE, 0, 1, 2), rule)
    assert found == {"boxes": np.inf, "scores": np.inf, "labels": np.inf}


def test_seven_thousand_candidates_are_compared():
    random = np.random.default_rng(3)
    many = answer(
        random.random(7000),
        random.integers(0, 7, 7000),
        random.random((7000, 4)) * 800,
    )
    assert gaps(many, many) == NOTHING
    assert gaps(many, order(many, *range(6999, -1, -1)), HALF) == NOTHING


@given(st.permutations(range(6)), st.data())
def test_ties_may_be_permuted_and_nothing_else(rows, data):
    levels = data.draw(st.lists(st.sampled_from([0.3, 0.6]), min_size=6, max_size=6))
    base = answer(sorted(levels, reverse=True), [0, 1, 2, 3, 4, 5])
    other = order(base, *rows)
    other["scores"] = np.sort(other["scores"])[::-1].copy()
    kept = {
        (label, score)
        for label, score in zip(other["labels"], other["scores"], strict=True)
    }
    same = kept == set(zip(base["labels"], base["scores"], strict=True))
    cut = {label for label, score in kept if score == base["scores"].min()}
    found = gaps(base, other)
    if same:
        assert found == NOTHING
    elif cut < set(range(6)):
        assert found["labels"] > 0


# ------------------------------------------------------------- another precision


def test_below_the_bundles_floor_the_last_of_a_level_may_be_another():
    base = answer([0.9, 0.04, 0.01], [1, 2, 3])
    other = changed(base, boxes={2: 500.0}, labels={1: 0})
    floored = AgreementRule(tolerances=TOLERANCES["fp32"], exact=True, score_floor=0.05)
    assert gaps(base, other, floored) == NOTHING
    assert gaps(base, other)["labels"] > 0
    moved = changed(base, boxes={0: [1, 0, 40, 60]})
    assert gaps(base, moved, floored)["boxes"] == 1.0
    assert gaps(base, changed(base, labels={0: 2}), floored)["labels"] == 2


def test_at_the_floor_a_rounding_may_bring_or_take_a_candidate():
    base = answer([0.9, 0.05003], [1, 2])
    other = changed(base, scores={1: 0.04996}, boxes={1: 300.0})
    floored = AgreementRule(tolerances=TOLERANCES["fp32"], exact=True, score_floor=0.05)
    assert gaps(base, other, floored)["labels"] == 0
    assert gaps(other, base, floored)["labels"] == 0


def test_what_nobody_sees_may_change():
    base = answer([0.9, 0.04, 0.03], [0, 1, 2])
    other = changed(base, labels={1: 5}, boxes={2: 0})
    assert gaps(base, other, HALF) == NOTHING


def test_relevant_candidates_may_change_places():
    assert gaps(BASE, order(BASE, 3, 1, 2, 0), HALF) == NOTHING


def test_the_nearest_in_box_and_score_is_the_partner():
    boxes = [[0, 0, 100, 100], [1, 0, 101, 100]]
    base = answer([0.9, 0.3], [0, 0], boxes)
    other = answer([0.31, 0.89], [0, 0], [[0.5, 0, 100, 100], [0.5, 0, 101, 100]])
    found = gaps(base, other, HALF)
    assert found["boxes"] == pytest.approx(1.0)
    assert found["scores"] == pytest.approx(0.01, abs=1e-6)
    assert found["labels"] == 0


@pytest.mark.parametrize("rule", [HALF, SWITCHING])
def test_a_moved_box_is_told_by_its_place_in_the_answer(rule):
    base = answer([0.01, 0.9, 0.8], [0, 1, 2])
    other = changed(base, boxes={2: base["boxes"][2] + [0, 1, 0, 0]})
    found = agreement(base, other, rule).differences
    assert found["boxes"].index == (2, 1)


@pytest.mark.parametrize("rule", [HALF, SWITCHING])
def test_a_lost_candidate_counts(rule):
    other = changed(BASE, scores={0: 0.0})
    other["scores"][3] = 0.21
    found = agreement(BASE, other, rule).differences["labels"]
    assert (found.max_abs, found.index) == (1, (0,))


@pytest.mark.parametrize("rule", [HALF, SWITCHING])
def test_an_invented_candidate_counts(rule):
    other = changed(BASE, scores={3: 0.7})
    base = changed(BASE, scores={3: 0.0})
    assert gaps(base, other, rule)["labels"] == 1


def test_an_unsure_candidate_may_come_and_go_with_its_proposal():
    other = changed(BASE, scores={3: 0.0})
    for base, changed_to in ((BASE, other), (other, BASE)):
        assert gaps(base, changed_to, HALF)["labels"] == 1
        found = gaps(base, changed_to, SWITCHING)
        assert found["labels"] == 0
        assert found["switched"] == pytest.approx(1 / 7)


def test_a_candidate_at_the_cut_may_come_and_go():
    base = answer([0.9, 0.06, 0.0], [0, 1, 2])
    other = changed(base, scores={1: 0.045, 2: 0.055})
    assert gaps(base, changed(other, labels={1: 3}), HALF)["labels"] == 0


def test_the_last_of_a_short_list_may_come_and_go():
    base = answer([0.9, 0.40], [0, 1])
    other = answer([0.9, 0.41], [0, 2])
    assert gaps(base, other, HALF)["labels"] == 0
    assert gaps(base, answer([0.9, 0.45], [0, 2]), HALF)["labels"] > 0


def test_a_box_elsewhere_is_not_the_same_object():
    other = changed(BASE, boxes={0: BASE["boxes"][0] + 30})
    assert gaps(BASE, other, HALF)["labels"] == 2


def test_a_tiny_box_is_found_again_within_tolerance():
    base = answer([0.9], [0], [[10, 10, 11, 11]])
    other = answer([0.9], [0], [[11, 11, 12, 12]])
    found = gaps(base, other, HALF)
    assert (found["boxes"], found["labels"]) == (1.0, 0.0)


def test_only_networks_that_suppress_proposals_may_switch():
    other = changed(BASE, boxes={1: BASE["boxes"][1] + 5})
    assert gaps(BASE, other, HALF)["boxes"] == 5
    found = gaps(BASE, other, SWITCHING)
    assert (found["boxes"], found["switched"]) == (0.0, 0.25)
    assert found["labels"] == 0


def test_what_was_suppressed_beside_another_is_switched_not_lost():
    boxes = [[0, 0, 100, 100], [0, 10, 100, 110], [500, 0, 600, 99]]
    base = answer([0.8, 0.78, 0.0], [0, 0, 1], boxes)
    other = answer([0.8, 0.0, 0.0], [0, 0, 1], boxes)
    assert gaps(base, other, HALF)["labels"] == 1
    found = gaps(base, other, SWITCHING)
    assert (found["labels"], found["switched"]) == (0.0, pytest.approx(1 / 3))
    assert gaps(other, base, SWITCHING) == found


def test_in_one_precision_a_proposal_on_a_step_may_switch_and_hardly_more():
    base = answer(np.linspace(0.9, 0.1, 400), np.arange(400) % 7)
    one = gaps(base, changed(base, scores={9: 0.7}), STEPPING)
    assert 0 < one["switched"] <= STEPPING.tolerances["switched"]
    assert (one["boxes"], one["scores"], one["labels"]) == (0.0, 0.0, 0.0)
    two = gaps(base, changed(base, scores={9: 0.7, 99: 0.4, 199: 0.3}), STEPPING)
    assert two["switched"] > STEPPING.tolerances["switched"]


def test_a_row_of_another_frame_is_all_switched():
    other = changed(BASE, boxes={row: row * 7 + 300 for row in range(4)})
    found = gaps(BASE, other, SWITCHING)
    assert found["switched"] == 1
    assert found["labels"] == 2


# ------------------------------------------------------------------------- flips


def bundle(**cuts) -> pb.Bundle:
    return pb.Bundle(
        decision=pb.DecisionRule(threshold=0.5, comparison=pb.GREATER_OR_EQUAL),
        fusion=pb.Fusion(low_confidence_cutoff=0.5, comparison=pb.GREATER_OR_EQUAL),
        combination=pb.Combination(rule=pb.COMBINATION_LOGIT_MEAN),
        **cuts,
    )


def flips(expected, actual, spec):
    rule = AgreementRule(tolerances=TOLERANCES["fp16"], exact=False, bundle=spec)
    return agreement(expected, actual, rule).decision_flips


def test_logits_that_cross_the_threshold_together_flip_the_decision():
    spec = bundle()
    expected = {"logits": np.array([1.0, -0.99], dtype=np.float32)}
    assert flips(expected, {"logits": np.float32([0.9, -0.8])}, spec) == 0
    assert flips(expected, {"logits": np.float32([1.0, -1.1])}, spec) == 1


def test_the_comparison_at_the_threshold_is_the_bundles():
    spec = bundle()
    at, below = ({"logits": np.float32([x])} for x in (0.0, -0.01))
    assert flips(at, below, spec) == 1
    spec.decision.comparison = pb.GREATER
    assert flips(at, below, spec) == 0


def test_every_detection_that_crosses_the_cut_off_counts():
    base = answer([0.9, 0.501, 0.499, 0.3], [0, 1, 2, 3])
    other = changed(base, scores={1: 0.499, 2: 0.501})
    assert flips(base, other, bundle()) == 2


def test_a_sure_detection_that_is_lost_is_a_flip_an_unsure_one_is_not():
    base = answer([0.9, 0.7, 0.3, 0.0], [0, 1, 2, 3])
    assert flips(base, changed(base, scores={1: 0.0}), bundle()) == 1
    assert flips(changed(base, scores={1: 0.0}), base, bundle()) == 1
    assert flips(base, changed(base, scores={2: 0.0}), bundle()) == 0


@pytest.mark.parametrize(
    "rule",
    [
        pb.Combination(rule=pb.COMBINATION_LOGIT_MEAN, probability_clip=1e-6),
        pb.Combination(rule=pb.COMBINATION_LOGIT_MEAN),
        pb.Combination(rule=pb.COMBINATION_PROBABILITY_MEAN),
        pb.Combination(rule=pb.COMBINATION_WEIGHTED, weights=[0.2, 0.3, 0.5]),
    ],
)
@given(logits=st.lists(st.floats(-900, 900, width=32), min_size=3, max_size=3))
def test_the_probability_is_the_one_the_server_reports(rule, logits):
    members = combine.members_from_logits("abc", logits)
    served = combine.combined_probability(members, rule)
    found = combined_probability(np.array(logits, dtype=np.float32), rule)
    assert found == pytest.approx(served, abs=1e-12)


# ------------------------------------------------------------------------- rules


def test_a_rule_follows_its_bundle():
    spec = bundle()
    spec.networks["detector"].detection.score_floor = 0.3
    spec.networks["detector"].split.nms_iou = 0.7
    rule = rule_from_bundle(spec, "detector", "fp16")
    assert (rule.relevant_score, rule.switching, rule.exact) == (0.3, True, False)
    assert rule.tolerances == TOLERANCES["fp16"]
    rule = rule_from_bundle(spec, "detector", "fp32")
    assert (rule.switching, rule.exact) == (True, False)
    assert rule.tolerances == TOLERANCES["fp32"]
    stored = {"logits": 1.0}
    rule = rule_from_bundle(spec, "classifier", "fp32", stored)
    assert (rule.relevant_score, rule.switching, rule.exact) == (0.05, False, True)
    assert rule.tolerances == stored


def test_joined_differences_keep_the_worst_and_the_common_mean():
    first = Difference(max_abs=1.0, mean_abs=0.5, count=2, index=(1,))
    second = Difference(max_abs=3.0, mean_abs=2.0, count=6, index=(4,))
    assert joined(first, second) == joined(second, first)
    assert joined(first, second).index == (4,)
    assert joined(first, second).mean_abs == pytest.approx(13 / 8)
