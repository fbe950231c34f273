from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from support.device_inputs import (
    ROLES,
    SPEC,
    STORED,
    PreparingRig,
    preparing_rig,
    random_image,
)
from support.fake_device import FakeDevice, sticky_codes

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends.on_device import PreparingBackend
from spinert.runtime.device_input import kernels
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.on_device import host_tensor, run_batch
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.errors import (
    BackendError,
    BackendUnavailable,
    DeviceLost,
    FrameRefused,
    Reason,
)

MIB = 2**20


@pytest.fixture
def rig(tmp_path, monkeypatch):
    with preparing_rig(tmp_path, monkeypatch) as rig:
        yield rig


@pytest.fixture
def constants_allowed():
    before, SPEC.grey.constant_image = SPEC.grey.constant_image, pb.CONSTANT_IMAGE_ZERO
    yield
    SPEC.grey.constant_image = before


# ------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("shape", [(64, 64), (90, 70), (65, 130), (200, 64), (96, 300)])
def test_inputs_are_those_of_the_cpu_bit_by_bit(rig, dtype, shape):
    for seed in range(3):
        rig.check(random_image(seed, shape, dtype))


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_every_bit_depth_gives_the_inputs_of_the_cpu(rig, bits, dtype):
    rig.check(random_image(bits, dtype=dtype, bits=bits))


def test_small_and_extreme_shapes_give_the_inputs_of_the_cpu(rig):
    for shape in [(1, 90), (90, 1), (2, 3), (33, 31), (400, 3), (3, 400)]:
        rig.check(random_image(7, shape))


def test_a_display_ready_image_passes_without_a_stretch(rig):
    pixels = np.random.default_rng(1).integers(40, 90, (80, 100), dtype=np.uint8)
    rig.check(
        replace(random_image(0), pixels=pixels, bits_stored=8, is_display_ready=True)
    )


def test_hundreds_of_random_images_give_the_inputs_of_the_cpu(rig):
    random = np.random.default_rng(11)
    for seed in range(200):
        shape = tuple(int(edge) for edge in random.integers(2, 60, 2))
        bits = int(random.integers(8, 17))
        dtype = np.uint8 if bits == 8 else random.choice([np.uint16, np.int16])
        rig.check(random_image(seed, shape, dtype, bits))


# ------------------------------------------------------------- batches and answers


def test_every_slot_of_a_batch_holds_its_own_frame(rig):
    images = [random_image(seed, dtype=STORED[seed % 3]) for seed in range(4)]
    prepared = [rig.prepared(image) for image in images]
    for role in ROLES:
        expected = [prepared_from_image(i, SPEC, [role]).inputs[role] for i in images]
        for order in ([0], [1, 0], [3, 2, 1, 0], [2, 2, 0]):
            made = rig.backend.input_of(
                role, [prepared[index].on_device[role] for index in order]
            )
            for slot, index in enumerate(order):
                np.testing.assert_array_equal(made[slot], expected[index].pixels)
    for frame in prepared:
        frame.release()


@pytest.mark.parametrize("role", ROLES)
def test_answers_are_those_of_inputs_from_the_host(rig, role):
    spec = SPEC.networks[role].input
    images = [random_image(seed) for seed in range(3)]
    prepared = [rig.prepared(image) for image in images]
    tensors = [prepared_from_image(i, SPEC, [role]).inputs[role] for i in images]
    # Never run from the host before, which would leave the right inputs behind.
    expected = rig.networks[role].compute(batch_inputs(spec, tensors))
    # More than once: the third run of a shape is launched as a graph.
    for _ in range(4):
        outputs = run_batch(
            rig.backend, role, spec, [frame.on_device[role] for frame in prepared]
        )
        for name, array in expected.items():
            np.testing.assert_array_equal(outputs[name], array)
    mixed = [tensors[0], prepared[1].on_device[role], tensors[2]]
    for name, array in run_batch(rig.backend, role, spec, mixed).items():
        np.testing.assert_array_equal(array, expected[name])
    for frame in prepared:
        frame.release()


def test_a_frame_can_be_fetched_for_networks_of_the_host(rig):
    prepared = rig.prepared(random_image(4))
    expected = prepared_from_image(random_image(4), SPEC, ROLES)
    for role in ROLES:
        tensor = host_tensor(rig.backend, role, prepared.input_of(role))
        np.testing.assert_array_equal(tensor.pixels, expected.inputs[role].pixels)
        assert tensor.placement == expected.inputs[role].placement
    prepared.release()


def test_the_pixels_cross_the_bus_once_however_many_networks_run(rig):
    image = random_image(0, (300, 200))
    for role in ROLES:
        warm = rig.prepared(image)
        rig.backend.input_of(role, [warm.on_device[role]])
        warm.release()
    rig.device.copied_in.clear()
    prepared = rig.prepared(image)
    for role in ROLES:
        placed = prepared.on_device[role]
        run_batch(rig.backend, role, SPEC.networks[role].input, [placed])
    prepared.release()
    large = [nbytes for nbytes in rig.device.copied_in if nbytes > 2**16]
    assert large == [image.pixels.nbytes]
    # Besides, the table and the size that the detector wants.
    assert sorted(rig.device.copied_in) == [8, 2**16, image.pixels.nbytes]


def test_it_says_so_in_its_capabilities(rig):
    assert isinstance(rig.backend, PreparingBackend)
    assert rig.backend.capabilities.prepares_on_device
    assert rig.backend.capabilities.variant == "CUDA graphs, device preprocessing"


# ---------------------------------------------------------------------- lifetimes


def test_a_frame_that_left_is_refused_and_never_read(rig):
    prepared = rig.prepared(random_image(0))
    prepared.release()
    prepared.release()
    with pytest.raises(BackendError, match="has left the device"):
        rig.backend.input_of("classifier", [prepared.on_device["classifier"]])


def test_a_frame_that_is_released_again_keeps_its_hands_off_the_next_one(rig):
    first = rig.prepared(random_image(0))
    first.release()
    second = rig.prepared(random_image(1))
    first.release()
    third = rig.prepared(random_image(2))
    places = {
        frame.on_device["detector"].image.stored.address for frame in (second, third)
    }
    assert len(places) == 2
    second.release()
    third.release()


def test_a_frame_that_gets_no_greys_leaves_at_once(rig):
    with rig.backend.uploading(random_image(0).pixels) as counted:
        assert rig.lent == 1
        assert counted.counts.sum() == random_image(0).pixels.size
    assert not rig.lent


def test_the_memory_of_a_frame_serves_the_next_one(rig):
    rig.check(random_image(0))
    taken = rig.device.used_bytes
    for seed in range(20):
        rig.check(random_image(seed))
    assert rig.device.used_bytes == taken


def test_a_released_frame_keeps_its_memory_while_a_batch_runs_with_it(rig):
    prepared = rig.prepared(random_image(0))
    placed = prepared.on_device["classifier"]
    compute, others = rig.networks["classifier"].compute, []

    def slow(inputs):
        # The client went away, and its memory must not go to the next frame yet.
        prepared.release()
        others.append(rig.prepared(random_image(1)))
        return compute(inputs)

    rig.networks["classifier"].compute = slow
    spec = SPEC.networks["classifier"].input
    run_batch(rig.backend, "classifier", spec, [placed])
    [other] = others
    assert (
        other.on_device["classifier"].image.stored.address
        != placed.image.stored.address
    )
    rig.networks["classifier"].compute = compute
    again = rig.prepared(random_image(2))
    assert (
        again.on_device["classifier"].image.stored.address
        == placed.image.stored.address
    )
    for frame in (again, other):
        frame.release()


def test_frames_wait_for_memory_and_go_on_when_there_is_some(tmp_path, monkeypatch):
    with preparing_rig(tmp_path, monkeypatch, device_images_mib=2) as rig:
        held = [rig.prepared(random_image(seed)) for seed in range(2)]
        waiting = threading.Thread(target=rig.check, args=(random_image(2),))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive(), "a third frame found memory beyond the limit"
        held[0].release()
        waiting.join(20)
        assert not waiting.is_alive()
        held[1].release()


def test_a_frame_beyond_the_limit_is_taken_alone(tmp_path, monkeypatch):
    with preparing_rig(tmp_path, monkeypatch, device_images_mib=1) as rig:
        rig.check(random_image(0, (1200, 600)))
        rig.check(random_image(1, (60, 60)))


def test_memory_of_other_sizes_makes_room(tmp_path, monkeypatch):
    with preparing_rig(tmp_path, monkeypatch, device_images_mib=4) as rig:
        rig.check(random_image(0, (500, 900)))
        base = rig.device.used_bytes
        for rows in (500, 1000, 1500, 700, 500):
            rig.check(random_image(rows, (rows, 900)))
        # 3 MiB more for frames and 2 MiB more on the host, not 5 and 2.
        assert rig.device.used_bytes - base < 6 * MIB


def test_a_refused_image_leaves_nothing_on_the_device(rig):
    flat = replace(random_image(0), pixels=np.full((70, 70), 5, np.uint16))
    rig.check(random_image(0))
    taken = rig.device.used_bytes
    for _ in range(5):
        with pytest.raises(FrameRefused) as caught:
            rig.prepared(flat)
        assert caught.value.reason is Reason.CONSTANT_IMAGE
    assert rig.device.used_bytes == taken
    rig.check(random_image(1))


# ------------------------------------------------------------------------ failures


@pytest.mark.parametrize("call", ["allocate", "copy_in", "launch", "copy_out"])
def test_a_call_that_fails_costs_one_frame(rig, call):
    for after in range(3):
        rig.device.plant(call, 1, after=after)
        failed = 0
        for seed in range(3):
            try:
                # Of a size of its own, which needs memory and weights.
                rig.check(random_image(seed, (400 + 3 * after + seed, 300 + seed)))
            except BackendError:
                failed += 1
        assert failed == 1
    rig.check(random_image(9))


@pytest.mark.parametrize("code", sticky_codes()[:3])
def test_a_device_that_dies_says_so_from_then_on(tmp_path, monkeypatch, code):
    with preparing_rig(tmp_path, monkeypatch) as rig:
        prepared = rig.prepared(random_image(0))
        rig.device.plant("launch", code)
        with pytest.raises(DeviceLost):
            rig.backend.input_of("detector", [prepared.on_device["detector"]])
        with pytest.raises(DeviceLost):
            rig.prepared(random_image(1))
        prepared.release()


def test_a_frame_without_memory_for_its_table_keeps_none_for_its_pixels(rig):
    taken = rig.device.used_bytes
    rig.device.plant("allocate", 2, after=1)
    with pytest.raises(BackendError) as caught:
        rig.prepared(random_image(0))
    assert caught.value.reason is Reason.DEVICE_OUT_OF_MEMORY
    assert rig.device.used_bytes == taken


def test_a_device_that_dies_with_the_table_gives_no_image(tmp_path, monkeypatch):
    with preparing_rig(tmp_path, monkeypatch) as rig:
        # First the counts are waited for, then the table.
        rig.device.plant("stream_synchronize", sticky_codes()[0], after=1)
        with pytest.raises(DeviceLost):
            rig.prepared(random_image(0))
        assert not rig.lent


@pytest.mark.parametrize("call", ["module", "kernel", "stream", "allocate", "pinned"])
@pytest.mark.parametrize("after", [0, 1])
def test_what_fails_while_opening_leaves_nothing_behind(
    tmp_path, monkeypatch, call, after
):
    device = FakeDevice()
    # One module is loaded, and everything else is taken more than once.
    device.plant(call, 209, after=0 if call == "module" else after)
    with (
        pytest.raises(BackendUnavailable),
        preparing_rig(tmp_path, monkeypatch, device),
    ):
        pass
    assert device.closed == 1
    assert not device.leaks


def test_a_build_without_kernels_says_what_to_do(tmp_path, monkeypatch):
    device = FakeDevice()
    monkeypatch.setattr(kernels, "fatbin", lambda: tmp_path / "missing")
    with pytest.raises(BackendUnavailable, match="nvcc"):
        PreparingRig(tmp_path, device)
    assert device.closed == 1
    assert not device.leaks


def test_a_network_of_floats_is_refused_before_anything_is_built(rig):
    spec = pb.Bundle.FromString(SPEC.SerializeToString())
    spec.networks["classifier"].input.element_type = pb.ELEMENT_FLOAT32
    with pytest.raises(BackendUnavailable, match="device_preprocessing"):
        rig.load(spec)


def test_frames_of_other_sizes_are_no_batch(rig):
    prepared = [rig.prepared(random_image(0, shape)) for shape in ((80, 80), (80, 300))]
    placed = [frame.on_device["detector"] for frame in prepared]
    with pytest.raises(BackendError, match="2 sizes"):
        rig.backend.input_of("detector", placed)
    for frame in prepared:
        frame.release()


def test_without_the_setting_nothing_is_loaded(tmp_path):
    device = FakeDevice()
    rig = PreparingRig(tmp_path, device, device_preprocessing=False)
    rig.load()
    assert not rig.backend.capabilities.prepares_on_device
    assert rig.backend.capabilities.variant == "CUDA graphs"
    assert "module" not in device.calls
    with pytest.raises(BackendError, match=r"backend\.device_preprocessing"):
        rig.backend.uploading(random_image(0).pixels)
    rig.backend.close()
    assert not device.leaks


@pytest.mark.parametrize("is_display_ready", [True, False])
def test_a_constant_image_is_black_where_the_bundle_allows_it(
    rig, constants_allowed, is_display_ready
):
    flat = replace(
        random_image(0),
        pixels=np.full((70, 90), 77, np.uint8),
        bits_stored=8,
        is_display_ready=is_display_ready,
    )
    rig.check(flat)
