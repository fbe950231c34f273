"""The oracle is the official preprocessing: pydicom, then dicom2png.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.image import (
    Image,
    LookupTable,
    Photometric,
    Rescale,
    VoiFunction,
    Window,
)
from spinert.runtime.preprocess.grey import grey_from_image
from spinert.runtime.preprocess.voi import values_after_voi

MODALITIES = {
    "none": None,
    "identity": Rescale(slope=1.0, intercept=0.0),
    "rescale": Rescale(slope=0.731, intercept=-1024.5),
    "falling": Rescale(slope=-2.5, intercept=4095.0),
    "table": LookupTable(
        first=100,
        bits=16,
        entries=(np.arange(3000, dtype=np.uint16) * 7 % 60013).astype(np.uint16),
    ),
}
FUNCTIONS = list(VoiFunction)


def dataset(image: Image) -> Dataset:
    found = Dataset()
    found.PhotometricInterpretation = image.photometric.value
    found.BitsStored = image.bits_stored
    found.PixelRepresentation = int(image.is_signed)
    if image.window:
        found.WindowCenter = image.window.center
        found.WindowWidth = image.window.width
        found.VOILUTFunction = image.window.function.value
    if isinstance(image.modality, Rescale):
        found.RescaleSlope = image.modality.slope
        found.RescaleIntercept = image.modality.intercept
    if isinstance(image.modality, LookupTable):
        found.ModalityLUTSequence = [lut_item(image.modality)]
    if image.voi_lut:
        found.VOILUTSequence = [lut_item(image.voi_lut)]
    return found


def lut_item(table: LookupTable) -> Dataset:
    found = Dataset()
    found.add_new(0x00283002, "SS" if table.first < 0 else "US", [0, 0, 0])
    found["LUTDescriptor"].value = [len(table.entries), table.first, table.bits]
    found.add_new(0x00283006, "US", table.entries.tolist())
    return found


def official(image: Image, rule: pb.GreyRule) -> np.ndarray:
    attributes, data = dataset(image), image.pixels
    if rule.modality_lut:
        data = apply_modality_lut(data, attributes)
    if rule.voi != pb.VOI_IGNORED:
        prefer_lut = rule.voi == pb.VOI_LUT_THEN_WINDOW
        data = apply_voi_lut(data, attributes, prefer_lut=prefer_lut)
    data = data.astype(np.int64) if data.dtype.kind in "iu" else data
    if rule.invert_monochrome1 and image.photometric is Photometric.MONOCHROME1:
        data = np.amax(data) - data
    data = data - np.min(data)
    data = data / np.max(data)
    return (data * 255).astype(np.uint8)


def rule(**changes) -> pb.GreyRule:
    values = {
        "voi": pb.VOI_LUT_THEN_WINDOW,
        "invert_monochrome1": True,
        "constant_image": pb.CONSTANT_IMAGE_REFUSE,
    }
    return pb.GreyRule(**{**values, **changes})


def stored(bits: int, is_signed: bool, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << bits, (64, 48))
    if is_signed:
        return (values - (1 << (bits - 1))).astype(np.int16)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


@pytest.mark.parametrize("photometric", list(Photometric))
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("applies_modality", [False, True])
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_window_gives_the_official_grey(
    modality, applies_modality, is_signed, function, photometric
):
    image = Image(
        pixels=stored(12, is_signed),
        bits_stored=12,
        photometric=photometric,
        modality=MODALITIES[modality],
        window=Window(center=900.3, width=1777.7, function=function),
    )
    asked = rule(modality_lut=applies_modality)
    assert np.array_equal(grey_from_image(image, asked).pixels, official(image, asked))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_window_gives_the_very_numbers_of_pydicom(modality, function):
    image = Image(
        pixels=np.arange(4096, dtype=np.uint16).reshape(64, 64),
        bits_stored=12,
        photometric=Photometric.MONOCHROME2,
        modality=MODALITIES[modality],
        window=Window(center=2000, width=2000, function=function),
    )
    values = image.pixels.astype(np.float64).ravel()
    expected = apply_voi_lut(image.pixels, dataset(image)).ravel()
    assert np.array_equal(values_after_voi(values, image, rule()), expected)


@pytest.mark.parametrize("first", [-300, 0, 700])
@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("voi", [pb.VOI_LUT_THEN_WINDOW, pb.VOI_WINDOW_THEN_LUT])
@pytest.mark.parametrize("has_window", [False, True])
def test_a_voi_lut_gives_the_official_grey(first, bits, voi, has_window):
    # Not monotonic: the extremes are those of the values that occur.
    entries = ((np.arange(2500) * 37 + 11) % (1 << bits)).astype(np.uint16)
    image = Image(
        pixels=stored(12, first < 0),
        bits_stored=12,
        photometric=Photometric.MONOCHROME1,
        voi_lut=LookupTable(first=first, bits=bits, entries=entries),
        window=Window(center=500, width=300) if has_window else None,
    )
    asked = rule(voi=voi)
    assert np.array_equal(grey_from_image(image, asked).pixels, official(image, asked))


def test_a_voi_lut_follows_the_modality_lut():
    image = Image(
        pixels=stored(12, is_signed=False),
        bits_stored=12,
        photometric=Photometric.MONOCHROME2,
        modality=MODALITIES["table"],
        voi_lut=LookupTable(
            first=50, bits=16, entries=np.arange(60000, 0, -1).astype(np.uint16)
        ),
    )
    asked = rule(modality_lut=True)
    assert np.array_equal(grey_from_image(image, asked).pixels, official(image, asked))


def test_no_attributes_give_the_official_grey():
    image = Image(
        pixels=stored(10, is_signed=False),
        bits_stored=10,
        photometric=Photometric.MONOCHROME1,
    )
    assert np.array_equal(
        grey_from_image(image, rule()).pixels, official(image, rule())
    )


def test_an_ignored_voi_changes_nothing():
    image = Image(
        pixels=stored(12, is_signed=False),
        bits_stored=12,
        photometric=Photometric.MONOCHROME2,
        window=Window(center=100, width=20),
    )
    asked = rule(voi=pb.VOI_IGNORED)
    assert np.array_equal(grey_from_image(image, asked).pixels, official(image, asked))


def test_a_window_of_width_one_is_a_step():
    image = Image(
        pixels=stored(8, is_signed=False),
        bits_stored=8,
        photometric=Photometric.MONOCHROME2,
        window=Window(center=128.5, width=1),
    )
    grey = grey_from_image(image, rule()).pixels
    assert np.array_equal(grey, np.where(image.pixels > 128, 255, 0))


def test_an_eight_bit_lut_is_not_wrapped_at_256_entries():
    # pydicom 3.0.2 computes the index in uint8 and wraps; PS3.3 C.11.2.1.1 does not.
    image = Image(
        pixels=np.array([[0, 255, 256, 4095]], np.uint16),
        bits_stored=12,
        photometric=Photometric.MONOCHROME2,
        voi_lut=LookupTable(
            first=0, bits=8, entries=(np.arange(4096) // 16).astype(np.uint16)
        ),
    )
    assert grey_from_image(image, rule()).pixels.tolist() == [[0, 15, 16, 255]]


# Decimal strings hold 16 characters, so windows in files are short numbers.
CENTERS = st.floats(-70000, 70000).map(lambda value: float(f"{value:.6g}"))
WIDTHS = st.floats(1, 140000).map(lambda value: float(f"{value:.6g}"))


@settings(max_examples=60)
@given(
    bits=st.integers(1, 16),
    is_signed=st.booleans(),
    window=st.builds(
        Window, center=CENTERS, width=WIDTHS, function=st.sampled_from(FUNCTIONS)
    ),
    photometric=st.sampled_from(list(Photometric)),
    seed=st.integers(0, 2**16),
)
def test_any_window_gives_the_official_grey(bits, is_signed, window, photometric, seed):
    image = Image(
        pixels=stored(bits, is_signed, seed),
        bits_stored=bits,
        photometric=photometric,
        window=window,
    )
    with np.errstate(all="ignore"):
        if np.ptp(apply_voi_lut(image.pixels, dataset(image))) == 0:
            return
        expected = official(image, rule())
    assert np.array_equal(grey_from_image(image, rule()).pixels, expected)
