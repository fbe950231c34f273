from __future__ import annotations

import pytest
from support import dicoms

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom
from spinert.runtime.errors import FrameRefused, Reason

SOP_CLASS, MODALITY, INTENT = 0x00080016, 0x00080060, 0x00080068
SAMPLES, PHOTOMETRIC, FRAMES = 0x00280002, 0x00280004, 0x00280008
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def frame(changes: dict) -> bytes:
    return dicoms.radiograph(dicoms.phantom(), bits=12, changes=changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({MODALITY: ("CS", "MR")}, Reason.MODALITY_NOT_ACCEPTED),
        ({MODALITY: None}, Reason.MODALITY_NOT_ACCEPTED),
        ({MODALITY: ("CS", "a name")}, Reason.MODALITY_NOT_ACCEPTED),
        ({SAMPLES: ("US", 3)}, Reason.COLOUR_IMAGE),
        ({PHOTOMETRIC: ("CS", "PALETTE COLOR")}, Reason.COLOUR_IMAGE),
        ({PHOTOMETRIC: None}, Reason.COLOUR_IMAGE),
        ({FRAMES: ("IS", "2")}, Reason.MULTI_FRAME),
        ({FRAMES: ("IS", "0")}, Reason.MULTI_FRAME),
        ({FRAMES: ("IS", "x")}, Reason.MALFORMED_DICOM),
        ({INTENT: ("CS", "FOR PROCESSING")}, Reason.FOR_PROCESSING),
        ({SOP_CLASS: ("UI", DX_FOR_PROCESSING)}, Reason.FOR_PROCESSING),
        ({SOP_CLASS: ("UI", CT_STORAGE)}, Reason.SOP_CLASS_NOT_ACCEPTED),
    ],
)
def test_images_outside_the_policy_are_refused(changes, reason):
    with pytest.raises(FrameRefused) as caught:
        image_from_dicom(frame(changes), DecodeSettings())
    assert caught.value.reason is reason
    assert "NAME" not in caught.value.message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {FRAMES: ("IS", "1")},
        {INTENT: ("CS", "FOR PRESENTATION")},
        {SOP_CLASS: None},
        {PHOTOMETRIC: ("CS", "MONOCHROME1")},
        {MODALITY: ("CS", "DX ")},
    ],
)
def test_single_grey_projection_images_are_taken(changes):
    assert image_from_dicom(frame(changes), DecodeSettings()).pixels.any()


def test_an_operator_may_add_a_modality_with_its_storage_class():
    added = DecodeSettings(accept_modalities=("CT",))
    changes = {MODALITY: ("CS", "CT"), SOP_CLASS: ("UI", CT_STORAGE)}
    assert image_from_dicom(frame(changes), added).pixels.any()
    with pytest.raises(FrameRefused):
        image_from_dicom(frame({}), added)
