from __future__ import annotations

import io

import numpy as np
import pytest
from google.protobuf import json_format
from support.bundles import tiny_spec, write_bundle, write_tiny_bundle
from support.golden import FRAMES, TOLERANCES, write_golden_bundle

from spinert.proto import bundle_pb2 as pb
from spinert.proto.flips import combined_probability
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.errors import BackendError, BundleError, Reason
from spinert.runtime.gate.golden_set import golden_cases
from spinert.runtime.gate.running import run_gate, run_golden_frame


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


def quiet(stage, fraction):
    pass


def gate(bundle, backend, sizes=(1, 2), progress=quiet):
    return run_gate(bundle, backend, sizes, progress)


def failure(bundle, backend, sizes=(1, 2)):
    report = gate(bundle, backend, sizes)
    with pytest.raises(BundleError) as caught:
        report.require_passed()
    assert caught.value.reason is Reason.GOLDEN_SET_FAILED
    return caught.value.message


def setup_failure(bundle):
    """Return why the gate cannot even start."""
    with pytest.raises(BundleError) as caught:
        gate(bundle, loaded(bundle))
    assert caught.value.reason is Reason.GOLDEN_SET_FAILED
    return caught.value.message


def test_a_faithful_backend_passes_with_no_difference(bundle):
    report = gate(bundle, loaded(bundle))
    report.require_passed()
    assert report.frames == len(FRAMES)
    assert [(g.network, g.batch_sizes) for g in report.networks] == [
        ("classifier", (1, 2)),
        ("detector", (1, 2)),
    ]
    outputs = [m.output for g in report.networks for m in g.measures]
    assert outputs == ["logits", "boxes", "labels", "scores"]
    for measure in (m for g in report.networks for m in g.measures):
        assert measure.measured_max_abs == measure.measured_mean_abs == 0
        assert measure.tolerance_abs == TOLERANCES[measure.output]
    assert [g.decision_flips for g in report.networks] == [0, 0]


def test_progress_goes_from_start_to_end(bundle):
    told = []
    gate(bundle, loaded(bundle), progress=lambda *a: told.append(a))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_one_frame_is_run_alone(bundle):
    backend = loaded(bundle)
    report = run_golden_frame(bundle, backend)
    report.require_passed()
    assert report.frames == 1
    assert [role for role, _ in backend.shapes] == ["classifier", "detector"]
    assert all(shape[0] == 1 for _, shape in backend.shapes)


@pytest.mark.parametrize(("within", "beyond"), [(4e-4, 6e-4)])
def test_a_difference_counts_from_the_stated_tolerance(bundle, within, beyond):
    def shift(by):
        def spoil(inputs, outputs):
            outputs["logits"][:, 1] += by

        return loaded(bundle, "classifier", spoil)

    [measure] = gate(bundle, shift(within)).networks[0].measures
    assert measure.measured_max_abs == pytest.approx(within, rel=0.01)
    # One of two logits is off.
    assert measure.measured_mean_abs == pytest.approx(within / 2, rel=0.01)
    message = failure(bundle, shift(beyond))
    for part in ("'classifier'", "'first'", "batch of 1", "slot 0", "logits", "0.0005"):
        assert part in message


def test_a_failure_names_the_worst_element_and_both_values(bundle):
    def spoil(inputs, outputs):
        outputs["logits"][:, 0] += 1e-3
        outputs["logits"][:, 1] = 77.5

    message = failure(bundle, loaded(bundle, "classifier", spoil))
    right = FakeBackend(BackendOptions())
    load_networks(right, bundle)
    cases = golden_cases(bundle, bundle.spec.golden.frames)
    expected = cases["classifier"][0].reference["logits"][1]
    assert f"most at [1]: 77.5 instead of {expected:.6g}" in message


def test_the_other_networks_run_on_after_one_failed(bundle):
    def spoil(inputs, outputs):
        outputs["logits"] += 1

    report = gate(bundle, loaded(bundle, "classifier", spoil))
    classifier, detector = report.networks
    assert "'classifier'" in classifier.failure
    assert classifier.measures[0].measured_max_abs == pytest.approx(1)
    assert detector.failure == ""
    assert detector.measures


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_network_that_is_wrong_in_one_slot_of_one_size_is_found_out(bundle, size):
    for slot in range(size):

        def spoil(inputs, outputs, slot=slot):
            if len(outputs["logits"]) == size:
                outputs["logits"][slot] += 1

        broken = loaded(bundle, "classifier", spoil)
        message = failure(bundle, broken, range(1, 6))
        assert f"batch of {size}, slot {slot}" in message
        run_golden_frame(bundle, broken).require_passed()


def test_a_network_that_answers_for_its_neighbour_is_found_out(bundle):
    def spoil(inputs, outputs):
        if len(outputs["logits"]) > 1:
            outputs["logits"][1] = outputs["logits"][0]

    assert "batch of 2, slot 1" in failure(bundle, loaded(bundle, "classifier", spoil))


def test_a_changed_decision_is_counted_once_for_its_frame(directory, tmp_path):
    def change(spec):
        # Just above what the darkest frame is given.
        cases = golden_cases(load_bundle(directory), spec.golden.frames)["classifier"]
        lowest = min(
            combined_probability(case.reference["logits"], spec.combination)
            for case in cases
        )
        spec.decision.threshold = lowest + 1e-5

    def spoil(inputs, outputs):
        outputs["logits"] += 1e-4

    bundle = changed(directory, tmp_path, change)
    report = gate(bundle, loaded(bundle, "classifier", spoil))
    report.require_passed()
    assert report.networks[0].decision_flips == 1


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
    message = setup_failure(bundle)
    assert "'detector'" in message
    assert "'second'" in message
    assert "preprocessing" in message


def test_another_photometric_interpretation_is_another_input(directory, tmp_path):
    def change(spec):
        spec.golden.frames[0].photometric_interpretation = "MONOCHROME1"

    bundle = changed(directory, tmp_path, change)
    assert "preprocessing" in setup_failure(bundle)


def test_a_bundle_without_golden_frames_proves_nothing(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    for run in (gate, run_golden_frame):
        with pytest.raises(BundleError, match="no golden frames"):
            run(bundle, loaded(bundle))


def test_every_network_needs_a_golden_case(directory, tmp_path):
    def change(spec):
        for frame in spec.golden.frames:
            del frame.networks["detector"]

    bundle = changed(directory, tmp_path, change)
    assert "'detector'" in setup_failure(bundle)


def test_every_output_needs_a_tolerance(directory, tmp_path):
    def change(spec):
        del spec.networks["detector"].parity.outputs[:]

    bundle = changed(directory, tmp_path, change)
    assert "no tolerance" in setup_failure(bundle)


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
        gate(bundle, loaded(bundle))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n damaged"])
def test_an_image_that_cannot_be_read_is_refused(directory, tmp_path, content):
    bundle = changed(directory, tmp_path, files={"golden/first.png": content})
    with pytest.raises(BundleError, match=r"first\.png"):
        gate(bundle, loaded(bundle))


def test_the_tiny_spec_is_not_changed_by_building_a_golden_bundle(tmp_path):
    write_golden_bundle(tmp_path)
    assert not tiny_spec().golden.frames
