from __future__ import annotations

import io

import numpy as np
import pytest
from google.protobuf import json_format
from support.bundles import tiny_spec, write_bundle, write_tiny_bundle
from support.golden import FRAMES, TOLERANCES, write_golden_bundle

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.errors import BackendError, BundleError, Reason
from spinert.runtime.golden import run_golden_frame, run_golden_set
from spinert.runtime.golden_compare import candidate_differences, logit_differences


class SpoiltBackend(FakeBackend):
    """Changes the outputs of one network by `spoil(inputs, outputs)`."""

    def __init__(self, role="", spoil=None):
        super().__init__(BackendOptions())
        self.role, self.spoil = role, spoil
        self.shapes = []

    def run(self, role, inputs):
        self.shapes.append((role, inputs["image"].shape))
        outputs = super().run(role, inputs)
        if role == self.role:
            self.spoil(inputs, outputs)
        return outputs


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_golden_bundle(tmp_path_factory.mktemp("golden"))


@pytest.fixture
def bundle(directory):
    return load_bundle(directory)


def loaded(bundle, *spoilt):
    backend = SpoiltBackend(*spoilt)
    load_networks(backend, bundle)
    return backend


def failure(bundle, backend, *args):
    with pytest.raises(BundleError) as caught:
        run_golden_set(bundle, backend, *args)
    assert caught.value.reason is Reason.GOLDEN_SET_FAILED
    return caught.value.message


def test_a_faithful_backend_passes_with_no_difference(bundle):
    report = run_golden_set(bundle, loaded(bundle))
    assert report.frames == len(FRAMES)
    assert report.batch_sizes == (1, 2)
    assert {(m.network, m.output) for m in report.measures} == {
        ("classifier", "logits"),
        ("detector", "boxes"),
        ("detector", "scores"),
        ("detector", "labels"),
    }
    for measure in report.measures:
        assert measure.measured_max_abs == 0
        assert measure.tolerance_abs == TOLERANCES[measure.output]


def test_every_frame_visits_every_slot_of_every_batch_size(bundle):
    seen = set()

    def watch(inputs, outputs):
        images = inputs["image"]
        seen.update((len(images), slot, i.tobytes()) for slot, i in enumerate(images))

    run_golden_set(bundle, loaded(bundle, "detector", watch), (1, 3))
    alone = {image for size, _, image in seen if size == 1}
    assert len(alone) == len(FRAMES)
    for image in alone:
        assert {(3, slot, image) for slot in range(3)} <= seen


def test_mates_are_other_images_even_where_no_frame_shares_the_size(bundle):
    def watch(inputs, outputs):
        images = {image.tobytes() for image in inputs["image"]}
        assert len(images) == len(inputs["image"])

    run_golden_set(bundle, loaded(bundle, "detector", watch), (2,))


def test_progress_goes_from_start_to_end(bundle):
    told = []
    run_golden_set(bundle, loaded(bundle), (), lambda *a: told.append(a))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_one_frame_is_run_alone(bundle):
    backend = loaded(bundle)
    report = run_golden_frame(bundle, backend)
    assert (report.frames, report.batch_sizes) == (1, (1,))
    assert [role for role, _ in backend.shapes] == ["classifier", "detector"]
    assert all(shape[0] == 1 for _, shape in backend.shapes)


@pytest.mark.parametrize(("within", "beyond"), [(4e-4, 6e-4)])
def test_a_difference_counts_from_the_stated_tolerance(bundle, within, beyond):
    def shift(by):
        def spoil(inputs, outputs):
            outputs["logits"][:, 1] += by

        return loaded(bundle, "classifier", spoil)

    report = run_golden_set(bundle, shift(within))
    assert report.measures[0].measured_max_abs == pytest.approx(within, rel=0.01)
    message = failure(bundle, shift(beyond))
    for part in ("'classifier'", "'first'", "batch of 1", "slot 0", "logits", "0.0005"):
        assert part in message


def test_a_network_that_is_right_only_alone_is_found_out(bundle):
    def spoil(inputs, outputs):
        if len(outputs["logits"]) > 1:
            outputs["logits"][1] = outputs["logits"][0]

    message = failure(bundle, loaded(bundle, "classifier", spoil))
    assert "batch of 2, slot 1" in message
    run_golden_frame(bundle, loaded(bundle, "classifier", spoil))


SPOILT_CANDIDATES = {
    "a shifted box": ("boxes", lambda o: o["boxes"].__iadd__(0.02)),
    "a lower score": ("scores", lambda o: o["scores"].__imul__(0.99)),
    "another label": ("labels", lambda o: o["labels"].fill(1)),
    "a lost candidate": (
        "labels",
        lambda o: [a.__setitem__((slice(None), 0), a[:, 1]) for a in o.values()],
    ),
}


@pytest.mark.parametrize("what", SPOILT_CANDIDATES)
def test_a_wrong_detector_is_found_out(bundle, what):
    output, change = SPOILT_CANDIDATES[what]

    def spoil(inputs, outputs):
        change(outputs)

    message = failure(bundle, loaded(bundle, "detector", spoil))
    assert "'detector'" in message
    if what != "a lost candidate":
        assert output in message


def test_outputs_that_break_the_contract_fail_the_golden_set(bundle):
    def spoil(inputs, outputs):
        outputs["logits"] = outputs["logits"][:, :1]

    assert "logits" in failure(bundle, loaded(bundle, "classifier", spoil))


def test_a_network_that_fails_fails_the_golden_set(bundle):
    def spoil(inputs, outputs):
        raise BackendError(Reason.NETWORK_FAILED, "network 'detector' failed")

    assert "detector" in failure(bundle, loaded(bundle, "detector", spoil))


def changed(directory, tmp_path, change=None, files=None):
    """Copy the golden bundle with `change` done to its spec."""
    spec = pb.Bundle()
    json_format.Parse((directory / "bundle.json").read_text(), spec)
    content = {e.path: (directory / e.path).read_bytes() for e in spec.files}
    if change:
        change(spec)
    return load_bundle(
        write_bundle(tmp_path / "changed", spec, content | (files or {}))
    )


def test_preprocessing_that_differs_by_one_bit_is_found_out(directory, tmp_path):
    def change(spec):
        digest = spec.golden.frames[1].networks["detector"].input_sha256
        flipped = ("1" if digest[0] == "0" else "0") + digest[1:]
        spec.golden.frames[1].networks["detector"].input_sha256 = flipped

    bundle = changed(directory, tmp_path, change)
    message = failure(bundle, loaded(bundle))
    assert "'detector'" in message
    assert "'second'" in message
    assert "preprocessing" in message


def test_another_photometric_interpretation_is_another_input(directory, tmp_path):
    def change(spec):
        spec.golden.frames[0].photometric_interpretation = "MONOCHROME1"

    bundle = changed(directory, tmp_path, change)
    assert "preprocessing" in failure(bundle, loaded(bundle))


def test_a_bundle_without_golden_frames_proves_nothing(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    for run in (run_golden_set, run_golden_frame):
        with pytest.raises(BundleError, match="no golden frames"):
            run(bundle, loaded(bundle))


def test_every_network_needs_a_golden_case(directory, tmp_path):
    def change(spec):
        for frame in spec.golden.frames:
            del frame.networks["detector"]

    bundle = changed(directory, tmp_path, change)
    assert "'detector'" in failure(bundle, loaded(bundle))


def test_every_output_needs_a_tolerance(directory, tmp_path):
    def change(spec):
        del spec.networks["detector"].parity.outputs[:]

    bundle = changed(directory, tmp_path, change)
    assert "no tolerance" in failure(bundle, loaded(bundle))


def pickled():
    file = io.BytesIO()
    np.savez(file, logits=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"PK not a zip", pickled()], ids=["empty", "damaged", "pickled"]
)
def test_references_that_cannot_be_read_safely_are_refused(
    directory, tmp_path, content
):
    files = {"golden/first.classifier.npz": content}
    bundle = changed(directory, tmp_path, files=files)
    with pytest.raises(BundleError, match=r"first\.classifier\.npz"):
        run_golden_set(bundle, loaded(bundle))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n damaged"])
def test_an_image_that_cannot_be_read_is_refused(directory, tmp_path, content):
    bundle = changed(directory, tmp_path, files={"golden/first.png": content})
    with pytest.raises(BundleError, match=r"first\.png"):
        run_golden_set(bundle, loaded(bundle))


# ------------------------------------------------------------------ comparisons


def reference():
    return {
        "boxes": np.array(
            [[0, 0, 9, 9], [10, 0, 19, 9], [20, 0, 29, 9], [30, 0, 39, 9]], np.float32
        ),
        "scores": np.array([0.9, 0.5, 0.5, 0.2], np.float32),
        "labels": np.array([0, 1, 1, 2]),
    }


def difference(order=(0, 1, 2, 3), change=None):
    wanted = reference()
    arrays = {name: value[list(order)].copy() for name, value in wanted.items()}
    if change:
        change(arrays)
    return candidate_differences(wanted, Candidates(**arrays), 1e-4)


NONE = {"boxes": 0.0, "scores": 0.0, "labels": 0.0}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 1, 2, 0)])
def test_candidates_may_come_in_any_order_with_their_own_scores(order):
    assert difference(order) == NONE


def test_swapped_scores_are_a_difference():
    def change(arrays):
        arrays["scores"][[0, 1]] = arrays["scores"][[1, 0]]

    assert difference(change=change)["labels"] > 0


def test_two_equal_candidates_in_place_of_two_different_ones_are_a_difference():
    def change(arrays):
        arrays["boxes"][2] = arrays["boxes"][1]

    assert difference(change=change)["boxes"] == 10


def test_a_swap_of_labels_between_tied_boxes_is_a_difference():
    wanted = reference()
    wanted["labels"][2] = 3
    found = Candidates(
        boxes=wanted["boxes"][[0, 2, 1, 3]],
        scores=wanted["scores"],
        labels=wanted["labels"],
    )
    assert candidate_differences(wanted, found, 1e-4)["boxes"] == 10


def test_the_last_place_may_go_to_either_of_two_that_tie():
    def change(arrays):
        arrays["boxes"][3] = [50, 0, 59, 9]
        arrays["labels"][3] = 5

    assert difference(change=change)["labels"] == 0


def test_a_better_candidate_than_the_last_may_not_be_lost():
    def change(arrays):
        arrays["labels"][2] = 5

    assert difference(change=change)["labels"] > 0


@pytest.mark.parametrize("name", ["boxes", "scores"])
def test_arrays_of_another_shape_are_infinitely_different(name):
    wanted = reference()
    arrays = reference()
    arrays[name] = arrays[name][:-1]
    gaps = candidate_differences(wanted, Candidates(**arrays), 1e-4)
    assert min(gaps.values()) == float("inf")
    assert logit_differences({"logits": np.zeros(2)}, np.zeros(3)) == {
        "logits": float("inf")
    }


def test_the_tiny_spec_is_not_changed_by_building_a_golden_bundle(tmp_path):
    write_golden_bundle(tmp_path)
    assert not tiny_spec().golden.frames
