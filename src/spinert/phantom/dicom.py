"""A phantom as a DICOM object: Digital X-Ray Image, For Presentation.

Follows PS3.3 section A.26; section numbers below are of PS3.3. De-identified by
construction: there is no patient and no institution, and the date is the same for
all. The same phantom gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)
from pydicom.valuerep import DSfloat

from spinert.phantom.compression import COMPRESSIONS, compressed
from spinert.phantom.truth import Phantom, Projection, Region
from spinert.phantom.version import PHANTOM_VERSION

__all__ = [
    "PhantomKey",
    "dicom_from_phantom",
    "patient_id",
    "pixels_sha256",
    "series_uid",
    "sop_instance_uid",
    "study_uid",
]

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "spinert:phantom")
_IMPLEMENTATION: Final = uuid.uuid5(_NAMESPACE, "implementation")
_BYTES_PER_PIXEL: Final = 2

_BODY_PARTS: Final = {
    Region.CERVICAL: ("CSPINE", codes.cid4009.CervicalSpine),
    Region.THORACIC: ("TSPINE", codes.cid4009.ThoracicSpine),
    Region.LUMBAR: ("LSPINE", codes.cid4009.LumbarSpine),
}
"""Body Part Examined and Anatomic Region (PS3.16 annex L, CID 4009)."""

_AP: Final = ("AP", codes.cid4010.AnteroPosterior, ["L", "F"])
_LEFT_LATERAL: Final = ("LL", codes.cid4010.LeftLateral, ["P", "F"])
_RIGHT_LATERAL: Final = ("RL", codes.cid4010.RightLateral, ["A", "F"])
"""View Position, View Code (CID 4010), Patient Orientation (section C.7.6.1.1.1)."""


@dataclass(frozen=True, kw_only=True)
class _Technique:
    kvp: int
    mas: int
    distance_mm: int


_TECHNIQUES: Final = {
    (Region.CERVICAL, Projection.AP): _Technique(kvp=66, mas=10, distance_mm=1150),
    (Region.CERVICAL, Projection.LATERAL): _Technique(kvp=70, mas=13, distance_mm=1500),
    (Region.THORACIC, Projection.AP): _Technique(kvp=77, mas=20, distance_mm=1150),
    (Region.THORACIC, Projection.LATERAL): _Technique(kvp=81, mas=32, distance_mm=1150),
    (Region.LUMBAR, Projection.AP): _Technique(kvp=81, mas=32, distance_mm=1150),
    (Region.LUMBAR, Projection.LATERAL): _Technique(kvp=90, mas=63, distance_mm=1150),
}
"""What such radiographs are taken with; it does not enter the pixels."""
_TUBE_CURRENT_MA: Final = 400


@dataclass(frozen=True, kw_only=True)
class PhantomKey:
    """What a phantom is made from: one key, one image."""

    seed: int
    index: int
    long_edge_px: int | None = None
    """None: a size of its own for each."""
    abnormal: bool | None = None
    """Whether it was asked for; None: as the seed has it."""


def study_uid(key: PhantomKey) -> str:
    """Return the Study Instance UID: each phantom is a study of its own."""
    return _uid(key, "study")


def series_uid(key: PhantomKey) -> str:
    """Return the Series Instance UID."""
    return _uid(key, "series")


def sop_instance_uid(key: PhantomKey) -> str:
    """Return the SOP Instance UID: other pixels have another."""
    return _uid(key, "image")


def patient_id(key: PhantomKey) -> str:
    """Return the Patient ID, which no patient has."""
    return f"PHANTOM-{key.seed}-{key.index:06d}"


def pixels_sha256(phantom: Phantom) -> str:
    """Return the SHA-256 of the stored values, little endian, row by row."""
    return hashlib.sha256(_pixel_bytes(phantom)).hexdigest()


def dicom_from_phantom(
    phantom: Phantom, key: PhantomKey, *, compression: str | None = None
) -> bytes:
    """Return a DICOM file (PS3.10) in Explicit VR Little Endian, or compressed.

    Args:
        phantom: The image.
        key: What it was made from: names it.
        compression: A key of COMPRESSIONS, all lossless; None: none.

    Raises:
        CompressionError: The encoder is missing or not known.
    """
    dataset = Dataset()
    _add_patient(dataset, key)
    _add_study_and_series(dataset, key)
    _add_equipment(dataset)
    _add_anatomy(dataset, phantom)
    _add_acquisition(dataset, phantom)
    _add_image(dataset, phantom)
    _add_display(dataset, phantom)
    syntax = _add_pixels(dataset, phantom, compression)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = sop_instance_uid(key)
    dataset.file_meta = _file_meta(dataset, syntax)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _uid(key: PhantomKey, level: str) -> str:
    """Return a UID derived from a UUID (PS3.5 section B.2)."""
    told = (PHANTOM_VERSION, key.seed, key.index, key.long_edge_px, key.abnormal)
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{level} {told}').int}"


def _file_meta(dataset: Dataset, transfer_syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    # Given here, pydicom does not write its own, which change with its version.
    meta.ImplementationClassUID = UID(f"2.25.{_IMPLEMENTATION.int}")
    meta.ImplementationVersionName = f"SPINERT_PHANTOM{PHANTOM_VERSION}"
    return meta


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _add_patient(dataset: Dataset, key: PhantomKey) -> None:
    """Add the Patient module (C.7.1.1) and what says that there is none."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Phantom^Spine {key.seed} {key.index}"
    dataset.PatientID = patient_id(key)
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.QualityControlSubject = "YES"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Computed image: there is no patient"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _add_study_and_series(dataset: Dataset, key: PhantomKey) -> None:
    """Add General Study, General Series and DX Series (C.7.2.1, C.7.3.1, C.8.11.1)."""
    dataset.StudyInstanceUID = study_uid(key)
    # Of no one; a DICOMDIR cannot be built without.
    dataset.StudyDate, dataset.StudyTime = "20000101", "000000"
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = str(key.seed)
    dataset.AccessionNumber = ""
    dataset.StudyDescription = "Digital spine phantom"
    dataset.Modality = "DX"
    dataset.SeriesInstanceUID = series_uid(key)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.PresentationIntentType = "FOR PRESENTATION"


def _add_equipment(dataset: Dataset) -> None:
    """Add General Equipment (C.7.5.1)."""
    dataset.Manufacturer = "SpineRT"
    dataset.ManufacturerModelName = "Digital spine phantom"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = PHANTOM_VERSION


def _add_anatomy(dataset: Dataset, phantom: Phantom) -> None:
    """Add DX Anatomy Imaged and DX Positioning (C.8.11.2, C.8.11.5)."""
    body_part, region = _BODY_PARTS[phantom.region]
    lateral = _RIGHT_LATERAL if phantom.faces_right else _LEFT_LATERAL
    is_lateral = phantom.projection is Projection.LATERAL
    position, view, orientation = lateral if is_lateral else _AP
    dataset.BodyPartExamined = body_part
    dataset.AnatomicRegionSequence = [_item(region)]
    dataset.ImageLaterality = "U"  # unpaired
    dataset.ViewPosition = position
    item = _item(view)
    item.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [item]
    dataset.PatientOrientation = orientation


def _add_acquisition(dataset: Dataset, phantom: Phantom) -> None:
    """Add X-Ray Generation and DX Detector (C.8.7.9, C.8.11.4)."""
    technique = _TECHNIQUES[phantom.region, phantom.projection]
    dataset.KVP = technique.kvp
    dataset.XRayTubeCurrent = _TUBE_CURRENT_MA
    dataset.ExposureTime = round(1000 * technique.mas / _TUBE_CURRENT_MA)
    dataset.Exposure = technique.mas
    dataset.ExposureInuAs = 1000 * technique.mas
    dataset.DistanceSourceToDetector = technique.distance_mm
    dataset.PositionerType = "COLUMN"
    dataset.DetectorType = "SCINTILLATOR"
    dataset.DetectorConfiguration = "AREA"
    dataset.DetectorDescription = "Computed: no detector"
    dataset.ImagerPixelSpacing = [_decimal(phantom.pixel_spacing_mm)] * 2
    dataset.AcquisitionContextSequence = []


def _add_image(dataset: Dataset, phantom: Phantom) -> None:
    """Add General Image, Image Pixel and DX Image (C.7.6.1, C.7.6.3, C.8.11.3)."""
    is_inverted = phantom.photometric == "MONOCHROME1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.QualityControlImage = "YES"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = phantom.photometric
    dataset.Rows, dataset.Columns = phantom.pixels.shape
    dataset.BitsAllocated = 8 * _BYTES_PER_PIXEL
    dataset.BitsStored = phantom.bits_stored
    dataset.HighBit = phantom.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    # -1: lower values had more X-rays, as where bone is bright and values are shown
    # as they are.
    dataset.PixelIntensityRelationshipSign = 1 if is_inverted else -1


def _add_display(dataset: Dataset, phantom: Phantom) -> None:
    """Add the grey scale transformations (C.8.11.3, C.11.2)."""
    is_inverted = phantom.photometric == "MONOCHROME1"
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "INVERSE" if is_inverted else "IDENTITY"
    # An image for presentation must have a window (C.8.11.3). Without one, it is that
    # of all stored values, which shows them as they are.
    span = 1 << phantom.bits_stored
    window = phantom.window
    dataset.WindowCenter = _decimal(span / 2 if window is None else window.center)
    dataset.WindowWidth = _decimal(span if window is None else window.width)


def _add_pixels(dataset: Dataset, phantom: Phantom, compression: str | None) -> str:
    """Add Pixel Data; return the transfer syntax."""
    if compression is None:
        dataset.PixelData = _pixel_bytes(phantom)
        dataset["PixelData"].VR = "OW"
        return ExplicitVRLittleEndian
    stream = compressed(phantom.pixels, phantom.bits_stored, compression)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return COMPRESSIONS[compression].transfer_syntax


def _pixel_bytes(phantom: Phantom) -> bytes:
    return phantom.pixels.astype("<u2", copy=False).tobytes()


def _decimal(value: float) -> DSfloat:
    """Return a Decimal String, which has at most 16 characters (PS3.5 6.2)."""
    return DSfloat(value, auto_format=True)
