"""The whole way from stored values to network inputs, against NumPy and Pillow."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image as PillowImage
from support.data import data_directory
from support.preprocess_twin import (
    counts_twin,
    grey_twin,
    network_input_twin,
    notes_twin,
    table_twin,
)

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_file
from spinert.runtime.decode.dicom_file import dicom_file
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.errors import FrameRefused
from spinert.runtime.image import (
    Image,
    LookupTable,
    Note,
    Photometric,
    Rescale,
    VoiFunction,
    Window,
)
from spinert.runtime.preprocess.grey import grey_from_image, table_from_counts

NETWORKS = {
    "classifier": (
        pb.ELEMENT_UINT8,
        pb.CanvasPolicy(fixed=pb.FixedCanvas(height=24, width=20)),
    ),
    "detector": (
        pb.ELEMENT_UINT8,
        pb.CanvasPolicy(
            shortest_edge=pb.ShortestEdge(
                short_edge=30, max_long_edge=50, pad_multiple=32
            )
        ),
    ),
    "floats": (
        pb.ELEMENT_FLOAT32,
        pb.CanvasPolicy(letterbox=pb.Letterbox(height=40, width=30)),
    ),
}
FILM_NETWORKS = {
    "classifier": (
        pb.ELEMENT_UINT8,
        pb.CanvasPolicy(fixed=pb.FixedCanvas(height=224, width=224)),
    ),
    "detector": (
        pb.ELEMENT_UINT8,
        pb.CanvasPolicy(
            shortest_edge=pb.ShortestEdge(
                short_edge=800, max_long_edge=1333, pad_multiple=32
            )
        ),
    ),
}


def bundle(networks, **rule) -> pb.Bundle:
    values = {"voi": pb.VOI_LUT_THEN_WINDOW, "invert_monochrome1": True}
    spec = pb.Bundle(
        grey=pb.GreyRule(**{**values, "constant_image": pb.CONSTANT_IMAGE_ZERO, **rule})
    )
    for role, (element, canvas) in networks.items():
        spec.networks[role].input.CopyFrom(
            pb.NetworkInput(
                element_type=element,
                resampler=pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST,
                canvas=canvas,
                mean=[103.53, 116.28, 123.675],
                std=[57.375, 57.12, 58.395],
                fill=[0.0, -1.0, 2.0],
            )
        )
    return spec


def drawn_pixels(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Draw an image of any depth whose contrast may be anything."""
    dtype = rng.choice([np.uint8, np.uint16, np.int16])
    bits = int(rng.integers(2, 8 * np.dtype(dtype).itemsize + 1))
    low = -(1 << (bits - 1)) if dtype is np.int16 else 0
    shape = rng.integers(1, 70, 2)
    span = (1 << bits) - 1
    kind = rng.integers(4)
    if kind == 0:
        shares = rng.random(shape)
    elif kind == 1:  # most of it at the ends
        shares = np.clip(rng.normal(0.5, rng.uniform(0.2, 2), shape), 0, 1)
    elif kind == 2:  # little contrast, but for a few pixels
        shares = 0.4 + rng.uniform(0.05, 0.25) * rng.random(shape)
        shares[rng.random(shape) < rng.uniform(0, 0.02)] = rng.choice([0.0, 1.0])
    else:
        shares = np.full(shape, rng.random())
    return (low + np.round(shares * span)).astype(dtype), bits


def drawn_image(rng: np.random.Generator) -> Image:
    pixels, bits = drawn_pixels(rng)
    window = Window(
        center=float(rng.uniform(-0.2, 1.2) * (1 << bits)),
        width=float(rng.uniform(0.01, 2) * (1 << bits)) + 1,
        function=VoiFunction(rng.choice(list(VoiFunction))),
    )
    lut = LookupTable(
        first=int(pixels.min()),
        bits=16,
        entries=rng.integers(0, 65536, rng.integers(2, 300)).astype(np.uint16),
    )
    rescale = Rescale(slope=float(rng.choice([-2.0, 0.7, 3.0])), intercept=-100.0)
    return Image(
        pixels=pixels,
        bits_stored=bits,
        photometric=Photometric(rng.choice(list(Photometric))),
        is_display_ready=pixels.dtype == np.uint8 and bool(rng.random() < 0.3),
        window=window if rng.random() < 0.5 else None,
        voi_lut=lut if rng.random() < 0.3 else None,
        modality=rescale if rng.random() < 0.3 else None,
    )


def check(image: Image, spec: pb.Bundle) -> frozenset[Note]:
    grey = grey_twin(image, spec.grey)
    expected = notes_twin(grey)
    made = prepared_from_image(image, spec, spec.networks)
    assert made.notes - {Note.SMALL} == expected | image.notes
    for role, network in spec.networks.items():
        tensor = made.inputs[role]
        twin = network_input_twin(grey, tensor.placement, network.input)
        assert tensor.pixels.dtype == twin.dtype
        np.testing.assert_array_equal(tensor.pixels, twin)
    whole = grey_from_image(image, spec.grey)
    np.testing.assert_array_equal(whole.pixels, grey)
    assert whole.notes == expected | image.notes
    return expected


def test_random_images_have_the_inputs_and_notes_of_the_twin():
    seen: Counter[Note | None] = Counter()
    for seed in range(700):
        rng = np.random.default_rng(seed)
        spec = bundle(
            NETWORKS,
            modality_lut=bool(rng.integers(2)),
            voi=rng.choice([pb.VOI_LUT_THEN_WINDOW, pb.VOI_WINDOW_THEN_LUT]),
        )
        seen.update(check(drawn_image(rng), spec) or [None])
    for note in (None, Note.CONSTANT, Note.LOW_CONTRAST, Note.CLIPPED):
        assert seen[note] > 20


def test_counts_made_elsewhere_give_the_same_table_and_notes():
    spec = bundle({})
    for seed in range(150):
        image = drawn_image(np.random.default_rng(seed))
        counts = counts_twin(image.pixels).astype(np.uint32)
        made = table_from_counts(image, spec.grey, int(image.pixels.min()), counts)
        assert made.notes == grey_from_image(image, spec.grey).notes
        if Note.CONSTANT not in made.notes:
            table = table_twin(image, spec.grey, counts)
            np.testing.assert_array_equal(made.greys, table)


@pytest.mark.slow
def test_every_film_has_the_inputs_of_the_twin():
    films = sorted((data_directory() / "spine" / "images").glob("*.jpg"))
    assert films
    for film in films:
        pixels = np.asarray(PillowImage.open(film).convert("L"))
        image = Image(
            pixels=pixels,
            bits_stored=8,
            photometric=Photometric.MONOCHROME2,
            is_display_ready=True,
        )
        check(image, bundle(FILM_NETWORKS))


@pytest.mark.slow
@pytest.mark.parametrize("modality_lut", [False, True])
def test_every_readable_file_has_the_inputs_of_the_twin(modality_lut):
    files = sorted((data_directory() / "dicom").glob("*.dcm"))
    spec = bundle(FILM_NETWORKS, modality_lut=modality_lut)
    read = 0
    for file in files:
        try:
            opened = dicom_file(file.read_bytes(), DecodeSettings(min_edge_px=16))
            image = image_from_file(opened)
        except FrameRefused:
            continue
        check(image, spec)
        read += 1
    assert read > 5
