"""A phantom as a DICOM object."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.phantoms import ramp_phantom

from spinert.phantom.compression import COMPRESSIONS
from spinert.phantom.dicom import PhantomKey, dicom_from_phantom, pixels_sha256
from spinert.phantom.errors import CompressionError
from spinert.phantom.truth import Projection, Region, Window
from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom

KEY = PhantomKey(seed=7, index=3, long_edge_px=200)
TESTS = Path(__file__).parents[1]
HOWS = [None, *COMPRESSIONS]


def read(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


@pytest.fixture
def phantom():
    return ramp_phantom(KEY)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_the_appliance_reads_the_very_pixels_however_they_are_stored(
    phantom, how, bits
):
    pixels = phantom.pixels >> 2 if bits == 10 else phantom.pixels
    phantom = replace(phantom, pixels=pixels, bits_stored=bits)
    image = image_from_dicom(
        dicom_from_phantom(phantom, KEY, compression=how), DecodeSettings()
    )
    np.testing.assert_array_equal(image.pixels, phantom.pixels)
    assert image.bits_stored == bits
    assert image.spacing is not None
    assert image.spacing.row_mm == pytest.approx(phantom.pixel_spacing_mm)


@pytest.mark.parametrize("how", HOWS)
def test_the_same_phantom_gives_the_same_bytes(phantom, how):
    first, second = (
        dicom_from_phantom(p, KEY, compression=how)
        for p in (phantom, ramp_phantom(KEY))
    )
    assert first == second


def test_bytes_do_not_depend_on_the_process(phantom):
    code = (
        "import sys; from support.phantoms import ramp_phantom as r;"
        "from spinert.phantom.dicom import *;"
        "k = PhantomKey(seed=7, index=3, long_edge_px=200);"
        "sys.stdout.buffer.write(dicom_from_phantom(r(k), k))"
    )
    there = subprocess.check_output([sys.executable, "-c", code], cwd=TESTS)
    assert there == dicom_from_phantom(phantom, KEY)


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"index": 4}, {"long_edge_px": 300}, {"abnormal": True}]
)
def test_every_other_phantom_has_another_uid(phantom, other):
    names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    ours = read(dicom_from_phantom(phantom, KEY))
    theirs = read(dicom_from_phantom(phantom, replace(KEY, **other)))
    for name in names:
        assert ours[name].value != theirs[name].value
        assert ours[name].value.is_valid
    assert len({ours[name].value for name in names}) == len(names)


def test_there_is_no_patient_and_it_says_so(phantom):
    told = read(dicom_from_phantom(phantom, KEY))
    assert told.PatientIdentityRemoved == "YES"
    assert told.PatientID == "PHANTOM-7-000003"
    assert told.QualityControlImage == "YES"
    assert not told.PatientBirthDate
    dates = {e.value for e in told.iterall() if e.VR in ("DA", "DT") and e.value}
    assert dates == {"20000101"}


@pytest.mark.parametrize(
    ("region", "projection", "faces_right", "wanted"),
    [
        (Region.CERVICAL, Projection.AP, False, ("CSPINE", "AP", ["L", "F"])),
        (Region.THORACIC, Projection.LATERAL, False, ("TSPINE", "LL", ["P", "F"])),
        (Region.LUMBAR, Projection.LATERAL, True, ("LSPINE", "RL", ["A", "F"])),
    ],
)
def test_region_and_view_are_stated_in_words_and_codes(
    phantom, region, projection, faces_right, wanted
):
    drawn = replace(
        phantom, region=region, projection=projection, faces_right=faces_right
    )
    told = read(dicom_from_phantom(drawn, KEY))
    assert (told.BodyPartExamined, told.ViewPosition, told.PatientOrientation) == wanted
    assert told.AnatomicRegionSequence[0].CodingSchemeDesignator == "SCT"
    assert told.ViewCodeSequence[0].CodeMeaning


def test_brightness_is_stated_as_the_photometric_interpretation_has_it(phantom):
    shapes = {}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        told = read(dicom_from_phantom(replace(phantom, photometric=photometric), KEY))
        shapes[photometric] = (
            told.PresentationLUTShape,
            told.PixelIntensityRelationshipSign,
        )
    assert shapes == {"MONOCHROME1": ("INVERSE", 1), "MONOCHROME2": ("IDENTITY", -1)}


def test_an_image_without_a_window_is_shown_as_it_is(phantom):
    told = read(dicom_from_phantom(replace(phantom, window=None), KEY))
    assert (told.WindowCenter, told.WindowWidth) == (2048, 4096)


def test_a_given_window_is_written_as_it_is(phantom):
    given = replace(phantom, window=Window(center=400.5, width=700.25))
    told = read(dicom_from_phantom(given, KEY))
    assert (told.WindowCenter, told.WindowWidth) == (400.5, 700.25)


def test_the_hash_is_of_the_stored_values(phantom):
    other = phantom.pixels.copy()
    other[5, 5] += 1
    assert pixels_sha256(phantom) != pixels_sha256(replace(phantom, pixels=other))
    big_endian = phantom.pixels.astype(">u2")
    assert pixels_sha256(phantom) == pixels_sha256(replace(phantom, pixels=big_endian))


def test_an_unknown_compression_names_those_there_are(phantom):
    with pytest.raises(CompressionError, match=r"jpeg-lossless, jpeg-ls, j2k, rle"):
        dicom_from_phantom(phantom, KEY, compression="zip")


def test_a_missing_codec_says_what_to_install(phantom, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(CompressionError, match=r"spinert\[serve\]"):
        dicom_from_phantom(phantom, KEY, compression="jpeg-ls")
    assert dicom_from_phantom(phantom, KEY, compression="rle")


def test_dciodvfy_has_nothing_to_say(phantom, tmp_path):
    if shutil.which("dciodvfy") is None and "SPINERT_REQUIRE_TOOLS" not in os.environ:
        pytest.skip("dciodvfy is not installed: it is in Debian's dicom3tools")
    windows = itertools.cycle([None, Window(center=400 / 3, width=7171.234567891)])
    photometrics = itertools.cycle(["MONOCHROME1", "MONOCHROME2", "MONOCHROME2"])
    said = []
    for region, projection, how in itertools.product(Region, Projection, HOWS):
        drawn = replace(
            phantom,
            region=region,
            projection=projection,
            photometric=next(photometrics),
            window=next(windows),
        )
        path = tmp_path / "phantom.dcm"
        path.write_bytes(dicom_from_phantom(drawn, KEY, compression=how))
        done = subprocess.run(
            ["dciodvfy", "-new", path], capture_output=True, text=True, check=False
        )
        said += (done.stdout + done.stderr).splitlines()
    assert set(said) == {"DXImageForPresentation"}
