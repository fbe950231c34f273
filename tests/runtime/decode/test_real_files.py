"""Real files of every kind: radiographs, test patterns, broken ones."""

from __future__ import annotations

import numpy as np
import pytest
from support.data import data_directory, pydicom_data

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom, image_from_file
from spinert.runtime.decode.dicom_file import dicom_file
from spinert.runtime.errors import (
    FrameRefused,
    Reason,
)
from spinert.runtime.image import Note, Photometric, Spacing, Window

SETTINGS = DecodeSettings()
WIDE = DecodeSettings(min_edge_px=16)


def stored_file(name: str) -> bytes:
    return (data_directory() / "dicom" / name).read_bytes()


def below_the_gate(data: bytes):
    return image_from_file(dicom_file(data, WIDE))


def refusal(data: bytes, settings: DecodeSettings = SETTINGS) -> FrameRefused:
    with pytest.raises(FrameRefused) as caught:
        image_from_dicom(data, settings)
    assert "CANARY" not in caught.value.message
    return caught.value


def test_one_hip_in_four_transfer_syntaxes_has_the_same_pixels():
    names = ("j2k_lossless", "jpeglossless_sv1", "jpegls_lossless", "rle")
    hips = [
        image_from_dicom(stored_file(f"cr_hip_mono2_10bit_{name}.dcm"), SETTINGS)
        for name in names
    ]
    assert hips[0].pixels.shape == (2140, 1760)
    for hip in hips:
        assert np.array_equal(hip.pixels, hips[0].pixels)
        assert hip.window == Window(center=511, width=1024)
        assert hip.spacing == Spacing(row_mm=0.2, column_mm=0.2)
        assert hip.notes == {Note.UNEXPECTED_BODY_PART}
        assert hip.bits_stored == 10
        assert hip.study_uid


def test_the_hip_in_lossy_twelve_bit_jpeg_is_close_and_noted():
    exact = image_from_dicom(stored_file("cr_hip_mono2_10bit_rle.dcm"), SETTINGS)
    lossy = image_from_dicom(
        stored_file("cr_hip_mono2_jpeg_extended_fixed.dcm"), SETTINGS
    )
    error = np.abs(lossy.pixels.astype(int) - exact.pixels)
    assert error.mean() < 4
    assert Note.LOSSY_COMPRESSION in lossy.notes


def test_a_chest_with_spacing_zero_has_no_spacing():
    chest = image_from_dicom(
        stored_file("cr_chest_pa_mono1_15bit_j2klossy.dcm"), SETTINGS
    )
    assert chest.photometric is Photometric.MONOCHROME1
    assert chest.bits_stored == 15
    assert chest.spacing is None
    assert chest.notes == {
        Note.SPACING_MISSING,
        Note.LOSSY_COMPRESSION,
        Note.UNEXPECTED_BODY_PART,
    }


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_lossless_jpeg_2000_equals_the_uncompressed_original(name):
    plain = image_from_dicom(pydicom_data(f"{name}_UNCR.dcm").read_bytes(), SETTINGS)
    packed = image_from_dicom(pydicom_data(f"{name}_J2KR.dcm").read_bytes(), SETTINGS)
    assert plain.photometric is Photometric.MONOCHROME1
    assert plain.pixels.max() > 1000
    assert np.array_equal(plain.pixels, packed.pixels)


def test_the_other_radiographs_decode():
    leg = image_from_dicom(stored_file("cr_leg_mono1_10bit_j2k_lossless.dcm"), SETTINGS)
    tibia = image_from_dicom(pydicom_data("RG3_UNCR.dcm").read_bytes(), SETTINGS)
    assert np.array_equal(leg.pixels, tibia.pixels)
    dx = image_from_dicom(
        stored_file("dx_chest_mono1_12bit_j2k_lossless.dcm"), SETTINGS
    )
    assert (dx.pixels.min(), dx.pixels.max()) == (0, 4095)
    assert dx.spacing == Spacing(row_mm=0.16, column_mm=0.16)


def test_test_patterns_and_mr_decode_below_the_gate():
    big_endian = below_the_gate(stored_file("mr_bigendian.dcm"))
    assert (big_endian.pixels.dtype, big_endian.is_signed) == (np.int16, True)
    assert (big_endian.pixels.min(), big_endian.pixels.max()) == (127, 2145)
    modality = below_the_gate(stored_file("ot_testpattern_modalitylutseq.dcm"))
    assert (modality.pixels.min(), modality.pixels.max()) == (-2048, 2047)
    assert modality.modality.first == -2048
    assert len(modality.modality.entries) == 4096
    voi = below_the_gate(stored_file("ot_testpattern_voilutseq.dcm"))
    assert (voi.voi_lut.first, voi.voi_lut.bits) == (0, 16)
    assert len(voi.voi_lut.entries) == 256
    deflated = below_the_gate(stored_file("ot_testpattern_deflated.dcm"))
    assert deflated.pixels.shape == (512, 512)
    assert np.ptp(deflated.pixels) == 255


def test_pixels_agree_with_pydicom_where_it_can_decode_by_itself():
    import pydicom

    for name in ("mr_bigendian.dcm", "ot_testpattern_modalitylutseq.dcm"):
        data = data_directory() / "dicom" / name
        expected = pydicom.dcmread(data).pixel_array
        assert np.array_equal(below_the_gate(data.read_bytes()).pixels, expected)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("BROKEN_no_meta.dcm", Reason.MALFORMED_DICOM),
        ("BROKEN_meta_missing_transfer_syntax.dcm", Reason.MALFORMED_DICOM),
        ("BROKEN_ct_bad_sequence_multiwindow.dcm", Reason.MODALITY_NOT_ACCEPTED),
        ("BROKEN_mr_truncated_pixeldata.dcm", Reason.MODALITY_NOT_ACCEPTED),
        ("us_rgb_nonsquare_pixelaspect_4_3.dcm", Reason.COLOUR_IMAGE),
        ("mr_bigendian.dcm", Reason.MODALITY_NOT_ACCEPTED),
        ("ot_testpattern_deflated.dcm", Reason.MODALITY_NOT_ACCEPTED),
    ],
)
def test_files_that_are_not_served_say_why(name, reason):
    assert refusal(stored_file(name)).reason is reason


def test_a_truncated_file_is_refused_where_its_modality_is_accepted():
    taken = DecodeSettings(accept_modalities=("MR",))
    data = stored_file("BROKEN_mr_truncated_pixeldata.dcm")
    assert refusal(data, taken).reason is Reason.PIXEL_DATA_LENGTH
