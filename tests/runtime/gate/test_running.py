from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import onnx
import pytest
from google.protobuf import json_format
from support.bundles import tiny_spec, write_bundle, write_tiny_bundle
from support.golden import FRAMES, TOLERANCES, golden_files, write_golden_bundle
from support.splits import REGIONS, split_files, split_spec

from spinert.proto import bundle_pb2 as pb
from spinert.proto.flips import combined_probability
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.errors import (
    BackendError,
    BackendUnavailable,
    BundleError,
    Reason,
)
from spinert.runtime.gate.golden_set import golden_cases
from spinert.runtime.gate.running import run_gate, run_golden_frame
from spinert.runtime.preprocess.canvas import Placement
from spinert.runtime.recompute.split import recomputation_from_bundle


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


def test_the_worst_of_all_runs_is_what_was_measured(bundle):
    def spoil(inputs, outputs):
        # Right in every batch but the first kind.
        if len(outputs["logits"]) == 1:
            outputs["logits"] += 3e-4

    [measure] = gate(bundle, loaded(bundle, "classifier", spoil)).networks[0].measures
    assert measure.measured_max_abs == pytest.approx(3e-4, rel=0.01)
    assert 0 < measure.measured_mean_abs < 2.9e-4


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


# ----------------------------------------------------------------------- forms


def with_half(directory, tmp_path, tolerance):
    """Add an FP16 form of the classifier and detector with its own tolerances."""

    def change(spec):
        for role, network in spec.networks.items():
            form = network.forms.add(file=f"networks/{role}.fp16.onnx")
            form.precision = "fp16"
            for entry in network.parity.outputs:
                stated = form.parity.outputs.add()
                stated.output, stated.tolerance_abs = entry.output, tolerance

    names = ("networks/classifier.fp16.onnx", "networks/detector.fp16.onnx")
    return changed(directory, tmp_path, change, dict.fromkeys(names, b"fake"))


class HalfBackend(SpoiltBackend):
    @property
    def capabilities(self):
        return replace(super().capabilities, precision="fp16")


def test_a_precision_is_judged_by_its_own_form_and_tolerances(directory, tmp_path):
    def spoil(inputs, outputs):
        outputs["logits"] += 4e-3

    bundle = with_half(directory, tmp_path, 5e-3)
    backend = HalfBackend("classifier", spoil)
    load_networks(backend, bundle)
    report = gate(bundle, backend)
    report.require_passed()
    told = [(g.file, g.precision) for g in report.networks]
    assert told[0] == ("networks/classifier.fp16.onnx", "fp16")
    assert report.networks[0].measures[0].tolerance_abs == 5e-3
    # The same answers are wrong in FP32.
    assert "tolerance 0.0005" in failure(bundle, loaded(bundle, "classifier", spoil))


def test_without_a_graph_in_the_precision_nothing_runs(bundle):
    with pytest.raises(BackendUnavailable, match="no fp16 graph"):
        load_networks(HalfBackend(), bundle)


# ------------------------------------------------------------------- recomputing


@pytest.fixture(scope="module")
def split_directory(tmp_path_factory):
    """A bundle whose detector's references are what its split graphs answer."""
    directory = tmp_path_factory.mktemp("split")
    files = {name: b"fake" for name in NETWORK_FILES} | split_files()
    bundle = load_bundle(write_bundle(directory, split_spec(), files))
    backend = SplitBackend(bundle)
    spec = split_spec()
    files |= golden_files(spec, backend, FRAMES[:1], (1,))
    return write_bundle(directory, spec, files)


NETWORK_FILES = ("networks/classifier.onnx", "networks/detector.onnx")


class SplitBackend(FakeBackend):
    """Its detector answers as the split graphs do, or that it did not converge."""

    def __init__(self, bundle, *, settles=True):
        super().__init__(BackendOptions())
        load_networks(self, bundle)
        self.recomputation = recomputation_from_bundle(bundle, "detector", 1)
        self.settles = settles

    def run(self, role, inputs):
        outputs = dict(super().run(role, inputs))
        if role != "detector":
            return outputs
        if not self.settles:
            count = len(inputs["image"])
            return outputs | {"status": np.ones(count, np.int32)}
        found = [self.recomputation.run(tensor) for tensor in tensors_from(inputs)]
        return {
            name: np.stack([getattr(each, name) for each in found]) for name in outputs
        }


def tensors_from(inputs):
    for pixels, (height, width) in zip(
        inputs["image"], inputs["image_size"].tolist(), strict=True
    ):
        place = Placement(
            valid_height=height,
            valid_width=width,
            height=pixels.shape[1],
            width=pixels.shape[2],
            rows_per_pixel=1.0,
            columns_per_pixel=1.0,
        )
        yield NetworkTensor(pixels=pixels, placement=place)


def test_split_graphs_have_to_pass_too(split_directory):
    bundle = load_bundle(split_directory)
    report = gate(bundle, SplitBackend(bundle))
    report.require_passed()
    assert [(g.network, g.is_recomputed) for g in report.networks] == [
        ("classifier", False),
        ("detector", False),
        ("detector", True),
    ]
    assert len(report.networks[2].measures) == 4


def test_split_graphs_that_answer_otherwise_fail_the_gate(split_directory, tmp_path):
    # The other graph scores all boxes lower.
    model = onnx.load_from_string(split_files()[REGIONS])
    [most] = [c for c in model.graph.initializer if c.name == "most"]
    most.CopyFrom(onnx.numpy_helper.from_array(np.float32(300), "most"))
    bundle = load_bundle(split_directory)
    wrong = changed(
        split_directory, tmp_path, files={REGIONS: model.SerializeToString()}
    )
    report = gate(wrong, SplitBackend(bundle))
    assert "frame 'first', recomputed: " in report.failure
    assert [bool(g.failure) for g in report.networks] == [False, False, True]


def test_a_golden_frame_that_does_not_converge_is_recomputed_as_when_serving(
    split_directory,
):
    bundle = load_bundle(split_directory)
    gate(bundle, SplitBackend(bundle, settles=False)).require_passed()


def test_without_split_graphs_a_golden_frame_has_to_converge(bundle):
    def spoil(inputs, outputs):
        outputs["status"] = np.ones(len(inputs["image"]), np.int32)

    message = failure(bundle, loaded(bundle, "detector", spoil))
    assert "did not converge" in message
    assert "batch of 1, slot 0" in message
