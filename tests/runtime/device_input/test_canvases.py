"""The inputs of networks of real sizes; the same checks run on a GPU in tests/gpu."""

from __future__ import annotations

import pytest
from support.data import data_directory
from support.device_inputs import CANVASES, STORED, InputMaker, random_image
from support.fake_device import FakeDevice

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom
from spinert.runtime.device_input import kernels
from spinert.runtime.errors import FrameRefused

LARGEST = 2**22
"""Pixels of a film compared here: the CPU plays the GPU, thread by thread."""


@pytest.fixture
def maker(tmp_path, monkeypatch):
    compiled = tmp_path / "preprocess.fatbin"
    compiled.write_bytes(b"kernels")
    monkeypatch.setattr(kernels, "fatbin", lambda: compiled)
    device = FakeDevice(memory_bytes=2**32)
    with device.current():
        maker = InputMaker(device)
        yield maker
        maker.close()
    assert not device.leaks


@pytest.mark.parametrize("role", CANVASES)
def test_inputs_are_those_of_the_cpu(maker, role):
    for seed, shape in enumerate([(64, 64), (549, 548), (1023, 771), (700, 1606)]):
        maker.check([random_image(seed, shape, STORED[seed % 3])], role)


def test_every_slot_of_a_batch_holds_its_own_frame(maker):
    for role in ("fixed", "letterbox"):
        images = [
            random_image(seed, (300 + 40 * seed, 280), STORED[seed % 3])
            for seed in range(4)
        ]
        maker.check(images, role)


def test_more_axes_than_are_kept_do_no_harm(maker):
    # Two axes each: 32 frames are all that is kept.
    images = [random_image(edge, (edge, 200 - edge)) for edge in range(64, 97)]
    for image in (*images, *images[:3]):
        maker.check([image], "fixed")
    maker.check(images[:32], "fixed")
    # All are known and in use when the last one needs the place of the first.
    maker.check(images, "fixed")


def test_a_frame_that_needs_more_room_than_the_one_before_gets_it(maker):
    small, large = random_image(1, (100, 100)), random_image(2, (2200, 2200))
    # Of its axes, too, so that nothing but the room is missing.
    for image in (small, random_image(3, (2200, 64))):
        maker.check([image], "letterbox")
    maker.check([small, large, small], "letterbox")


def test_real_radiographs_get_the_inputs_of_the_cpu(maker):
    compared = 0
    for path in sorted((data_directory() / "dicom").glob("*.dcm")):
        try:
            image = image_from_dicom(path.read_bytes(), DecodeSettings())
        except FrameRefused:
            continue
        if image.pixels.size <= LARGEST:
            maker.check([image], "fixed")
            compared += 1
    assert compared >= 5
