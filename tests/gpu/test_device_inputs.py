"""Network inputs made on a real GPU against those of the CPU, bit by bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.device_inputs import CANVASES, STORED, InputMaker, random_image
from support.gpus import missing

from spinert.runtime.errors import BackendUnavailable

pytestmark = pytest.mark.gpu
SHAPES = [(64, 64), (549, 548), (1023, 771), (2455, 1606), (1606, 2455), (3072, 2500)]


@pytest.fixture
def maker(device):
    try:
        maker = InputMaker(device)
    except BackendUnavailable as error:
        missing(error.message)
    yield maker
    maker.close()


@pytest.mark.parametrize("role", CANVASES)
@pytest.mark.parametrize("dtype", STORED)
def test_inputs_are_those_of_the_cpu(maker, role, dtype):
    for shape in SHAPES:
        maker.check([random_image(0, shape, dtype)], role)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_every_bit_depth_gives_the_inputs_of_the_cpu(maker, dtype):
    for bits in range(8, 17):
        maker.check([random_image(bits, (700, 500), dtype, bits)], "shortest_edge")


def test_every_slot_of_a_batch_holds_its_own_frame(maker):
    for count in range(1, 9):
        images = [
            random_image(seed, (900 + seed, 700), STORED[seed % 3])
            for seed in range(count)
        ]
        for role in ("fixed", "letterbox"):
            maker.check(images, role)


def test_a_thousand_random_images_give_the_inputs_of_the_cpu(maker):
    random = np.random.default_rng(5)
    for seed in range(1000):
        shape = tuple(int(edge) for edge in random.integers(2, 400, 2))
        image = random_image(seed, shape, STORED[seed % 3])
        maker.check([image], ("fixed", "letterbox", "native")[seed % 3])


def test_the_largest_image_is_no_exception(maker):
    maker.check([random_image(1, (8192, 8192))], "letterbox")


def test_threads_get_the_inputs_of_their_own_frames(maker):
    def check(seed):
        with maker.device.current():
            maker.check([random_image(seed, (800, 600 + seed))], "letterbox")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(100)))


def test_ten_thousand_frames_take_no_more_memory(maker):
    images = [random_image(seed, (300, 200 + seed)) for seed in range(4)]
    for image in images:
        maker.check([image], "fixed")
    before = maker.device.memory().free_bytes
    for index in range(10_000):
        image = images[index % 4]
        maker.uploaded(image).release()
    assert maker.device.memory().free_bytes == before
