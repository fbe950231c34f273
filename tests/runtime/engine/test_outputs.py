from __future__ import annotations

import numpy as np
import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.outputs import Unconverged, frame_outputs_from_batch
from spinert.runtime.errors import BackendError, Reason

CLASSIFIER = pb.Network(output=pb.OUTPUT_LOGITS, members=["a", "b"])
DETECTOR = pb.Network(
    output=pb.OUTPUT_CANDIDATES, detection=pb.DetectionRule(candidates=3)
)
SIZE = 4


def logits():
    return {"logits": np.arange(SIZE * 2, dtype=np.float32).reshape(SIZE, 2)}


def candidates():
    boxes = np.arange(SIZE * 12, dtype=np.float32).reshape(SIZE, 3, 4)
    scores = np.linspace(0, 1, SIZE * 3, dtype=np.float32).reshape(SIZE, 3)
    labels = np.tile(np.array([0, 6, 3]), (SIZE, 1))
    return {"boxes": boxes, "scores": scores, "labels": labels}


def split(network, outputs):
    return frame_outputs_from_batch("it", network, 7, SIZE, outputs)


def test_each_slot_gets_its_own_logits():
    assert [list(row) for row in split(CLASSIFIER, logits())] == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
    ]


def test_each_slot_gets_its_own_candidates():
    outputs = candidates()
    for slot, found in enumerate(split(DETECTOR, outputs)):
        assert np.array_equal(found.boxes, outputs["boxes"][slot])
        assert np.array_equal(found.scores, outputs["scores"][slot])
        assert np.array_equal(found.labels, outputs["labels"][slot])


SPOILED = [
    ("one frame too few", "logits", lambda a: a[:-1]),
    ("one frame too many", "logits", lambda a: np.concatenate([a, a[:1]])),
    ("a member too few", "logits", lambda a: a[:, :1]),
    ("an axis too many", "logits", lambda a: a[None]),
    ("integers", "logits", lambda a: a.astype(np.int64)),
    ("one frame too few", "boxes", lambda a: a[:-1]),
    ("a candidate too few", "boxes", lambda a: a[:, :-1]),
    ("one frame too few", "scores", lambda a: a[:-1]),
    ("one frame too few", "labels", lambda a: a[:-1]),
    ("floats", "labels", lambda a: a.astype(np.float32)),
]


@pytest.mark.parametrize(("what", "name", "spoil"), SPOILED)
def test_outputs_that_break_the_contract_are_refused(what, name, spoil):
    network, outputs = (
        (CLASSIFIER, logits()) if name == "logits" else (DETECTOR, candidates())
    )
    outputs[name] = spoil(outputs[name])
    with pytest.raises(BackendError, match="'it'") as caught:
        split(network, outputs)
    assert caught.value.reason is Reason.NETWORK_OUTPUT_INVALID


ONE_SPOILED = [
    ("logits", np.nan),
    ("logits", np.inf),
    ("boxes", np.nan),
    ("boxes", -np.inf),
    ("scores", np.nan),
    ("scores", 1.1),
    ("scores", -0.1),
    ("labels", 7),
    ("labels", -1),
]


@pytest.mark.parametrize(("name", "value"), ONE_SPOILED)
def test_values_without_meaning_fail_their_own_frame_alone(name, value):
    network, outputs = (
        (CLASSIFIER, logits()) if name == "logits" else (DETECTOR, candidates())
    )
    outputs[name][2].flat[-1] = value
    found = split(network, outputs)
    assert [isinstance(output, BackendError) for output in found] == [
        False,
        False,
        True,
        False,
    ]
    assert found[2].reason is Reason.NETWORK_OUTPUT_INVALID
    assert "'it'" in found[2].message


@pytest.mark.parametrize("name", ["logits", "boxes", "scores", "labels"])
def test_a_missing_output_is_refused(name):
    network, outputs = (
        (CLASSIFIER, logits()) if name == "logits" else (DETECTOR, candidates())
    )
    del outputs[name]
    with pytest.raises(BackendError, match=name):
        split(network, outputs)


def test_scores_of_exactly_zero_and_one_are_valid():
    outputs = candidates()
    assert (outputs["scores"].min(), outputs["scores"].max()) == (0, 1)
    assert len(split(DETECTOR, outputs)) == SIZE


def test_a_frame_that_did_not_converge_has_no_answer_alone():
    outputs = candidates() | {"status": np.array([0, 0, 1, 0], np.int32)}
    found = split(DETECTOR, outputs)
    assert [isinstance(output, Unconverged) for output in found] == [
        False,
        False,
        True,
        False,
    ]


def test_a_status_of_the_wrong_length_is_refused():
    with pytest.raises(BackendError, match="status"):
        split(DETECTOR, candidates() | {"status": np.zeros(SIZE - 1, np.int32)})
