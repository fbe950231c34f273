"""Phantoms become exactly what the appliance would make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.preprocess_twin import served_input
from support.reference_training import (
    CLASSIFIER_EDGE_PX,
    DETECTOR_EDGE_PX,
    rough_phantom,
)

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.errors import DestinationError, TrainingError
from spinert.export.presets import PRESETS
from spinert.export.reference.frames import NO_BOX, SPLIT, frames_from_folder
from spinert.export.reference.inputs import CLASSES, grey_from_phantom, kept_inputs
from spinert.export.reference.rendering import render_split, stated_split
from spinert.export.reference.settings import ImageSettings, SplitSettings
from spinert.phantom.truth import Window
from spinert.runtime import image as runtime
from spinert.runtime.preprocess.canvas import placement
from spinert.runtime.preprocess.grey import grey_from_image

IMAGES = ImageSettings(
    classifier_edge_px=CLASSIFIER_EDGE_PX,
    detector_edge_px=DETECTOR_EDGE_PX,
    long_edge_px=200,
)
SPLIT_OF_SIX = SplitSettings(seed=3, count=6)
WINDOWS = [None, Window(center=1500.0, width=900.0), Window(center=1200.5, width=1.0)]


def runtime_image(phantom):
    window = phantom.window
    return runtime.Image(
        pixels=phantom.pixels,
        bits_stored=phantom.bits_stored,
        photometric=runtime.Photometric(phantom.photometric),
        window=window
        and runtime.Window(
            center=window.center,
            width=window.width,
            function=runtime.VoiFunction.LINEAR,
        ),
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_grey_image_is_that_of_the_runtime(window, photometric) -> None:
    phantom = replace(rough_phantom(1, 0), window=window, photometric=photometric)
    expected = grey_from_image(runtime_image(phantom), PRESETS["vindr"]().grey)
    assert np.array_equal(grey_from_phantom(phantom), expected.pixels)
    assert len(np.unique(expected.pixels)) > 1


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "train"
    render_split(folder, IMAGES, SPLIT_OF_SIX, rough_phantom)
    return folder


@pytest.mark.parametrize("role", [CLASSIFIER, DETECTOR])
def test_kept_inputs_are_those_of_the_runtime(rendered, role) -> None:
    frames = frames_from_folder(rendered, role)
    stated = kept_inputs(IMAGES)[role]
    for index in range(frames.count):
        phantom = rough_phantom(3, index, long_edge_px=200)
        grey = grey_from_image(runtime_image(phantom), PRESETS["vindr"]().grey)
        place = placement(*grey.pixels.shape, stated.canvas)
        expected = served_input(grey.pixels, place, stated)
        assert np.array_equal(frames.images[index].numpy(), expected)
        size = (place.valid_height, place.valid_width)
        assert tuple(frames.sizes[index].tolist()) == size
        assert bool(frames.abnormal[index]) == bool(phantom.findings)


def test_boxes_of_the_classifier_are_stretched_as_its_image_is(rendered) -> None:
    frames = frames_from_folder(rendered, CLASSIFIER)
    seen = 0
    for index in range(frames.count):
        phantom = rough_phantom(3, index, long_edge_px=200)
        per_pixel = np.array(phantom.pixels.shape[::-1] * 2) / IMAGES.classifier_edge_px
        real = frames.labels[index] != NO_BOX
        boxes = frames.boxes[index][real].numpy() * per_pixel
        wanted = np.array([f.box for f in phantom.findings]).reshape(-1, 4)
        # The letterbox's size is a whole number, so that a pixel of it may be lost.
        np.testing.assert_allclose(boxes, wanted, rtol=0.05)
        seen += len(wanted)
    assert seen > 3


def test_boxes_are_scaled_as_the_runtime_scales_them_back(rendered) -> None:
    frames = frames_from_folder(rendered, DETECTOR)
    canvas = kept_inputs(IMAGES)[DETECTOR].canvas
    seen = 0
    for index in range(frames.count):
        phantom = rough_phantom(3, index, long_edge_px=200)
        place = placement(*phantom.pixels.shape, canvas)
        per_pixel = np.array([place.columns_per_pixel, place.rows_per_pixel] * 2)
        real = frames.labels[index] != NO_BOX
        assert int(real.sum()) == len(phantom.findings)
        boxes = frames.boxes[index][real].numpy() * per_pixel
        wanted = np.array([f.box for f in phantom.findings]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, wanted, rtol=1e-5)
        labels = [CLASSES[found.label] for found in phantom.findings]
        assert frames.labels[index][real].tolist() == labels
        seen += len(labels)
    assert seen > 3


@pytest.mark.slow
def test_other_processes_render_the_same_files(rendered, tmp_path) -> None:
    told: list[int] = []
    split = SplitSettings(seed=3, count=10)
    for workers in (1, 2):
        render_split(
            tmp_path / str(workers),
            IMAGES,
            split,
            rough_phantom,
            workers=workers,
            progress=told.append,
        )
    assert told == [8, 10, 8, 10]
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(names) == 8
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("1", "2"))
        assert one.read_bytes() == two.read_bytes()


def test_an_interrupted_rendering_is_begun_again(tmp_path) -> None:
    def failing(seed, index, *, long_edge_px=None):
        if index == 4:
            raise KeyboardInterrupt
        return rough_phantom(seed, index, long_edge_px=long_edge_px)

    with pytest.raises(KeyboardInterrupt):
        render_split(tmp_path / "train", IMAGES, SPLIT_OF_SIX, failing)
    assert not (tmp_path / "train").exists()
    render_split(tmp_path / "train", IMAGES, SPLIT_OF_SIX, rough_phantom)
    assert frames_from_folder(tmp_path / "train", DETECTOR).count == 6
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_rendered_split_is_not_overwritten(rendered) -> None:
    with pytest.raises(DestinationError, match="remove it"):
        render_split(rendered, IMAGES, SPLIT_OF_SIX, rough_phantom)


def test_data_of_other_settings_are_refused(rendered, tmp_path) -> None:
    stated = stated_split(IMAGES, SPLIT_OF_SIX)
    assert frames_from_folder(rendered, DETECTOR, stated).count == 6
    with pytest.raises(TrainingError, match="seed is 3, not 4: render it again"):
        frames_from_folder(rendered, DETECTOR, {**stated, "seed": 4})
    with pytest.raises(TrainingError, match="run the rendering first"):
        frames_from_folder(tmp_path, DETECTOR)
    (tmp_path / SPLIT).write_text("{")
    with pytest.raises(TrainingError, match="run the rendering first"):
        frames_from_folder(tmp_path, DETECTOR)


def test_training_never_writes_to_the_data(rendered) -> None:
    before = (rendered / "detector.npy").read_bytes()
    frames_from_folder(rendered, DETECTOR).images.zero_()
    assert (rendered / "detector.npy").read_bytes() == before


def test_a_split_of_normal_frames_has_no_boxes(tmp_path) -> None:
    def normal(seed, index, *, long_edge_px=None):
        return rough_phantom(seed, 2 * index + 1, long_edge_px=long_edge_px)

    render_split(tmp_path / "train", IMAGES, SPLIT_OF_SIX, normal)
    frames = frames_from_folder(tmp_path / "train", DETECTOR)
    assert not frames.abnormal.any()
    assert torch.equal(frames.labels, torch.full((6, 1), NO_BOX))
