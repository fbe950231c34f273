"""Nothing that could name a patient is logged or sent back in a message."""

import io
import json
import logging
import subprocess
import sys
import warnings

import grpc
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from support.servers import serving, write_served_bundle

from spinert.runtime.client import (
    Client,
    Frame,
    FrameOptions,
    FrameRefusal,
    PixelFormat,
)
from spinert.runtime.server.faults import refusal_from_exception
from spinert.runtime.server.logs import JsonFormatter, event

CANARIES = {
    "name": "CANARY^NAME",
    "patient_id": "CANARYPID77",
    "accession": "CANARYACC88",
    "study": "1.2.826.99.1001",
    "frame": "canary-frame-id-55",
    "series": "1.2.826.99.1002",
    "device": "canary-device",
}


def dicom_bytes(**changes):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientName = CANARIES["name"]
    dataset.PatientID = CANARIES["patient_id"]
    dataset.AccessionNumber = CANARIES["accession"]
    dataset.StudyInstanceUID = CANARIES["study"]
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = 80, 70
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = (np.arange(5600, dtype="<u2") % 4096).tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def frames():
    options = FrameOptions(
        frame_id=CANARIES["frame"], series_uid=CANARIES["series"], timeout_ms=20_000
    )
    name = CANARIES["name"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Frame.from_dicom(dicom_bytes(), options)
        yield Frame.from_dicom(dicom_bytes(Modality="MR"), options)
        yield Frame.from_dicom(dicom_bytes(PixelData=b"12"), options)
        yield Frame.from_dicom(dicom_bytes(WindowCenter=[1], WindowWidth=[0]), options)
        yield Frame.from_dicom(dicom_bytes(PhotometricInterpretation="RGB"), options)
    good = dicom_bytes()
    yield Frame.from_dicom(good[:-5000], options)
    # A value that cannot be parsed as what it says it is: a library would quote it.
    yield Frame.from_dicom(good.replace(b"DICM", b"XXXX"), options)
    for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x10\x00\x10\x00PN"):
        at = good.index(tag)
        broken = good[: at + 4] + b"DS" + good[at + 6 :]
        yield Frame.from_dicom(broken, options)
    yield Frame.from_encoded(b"\x89PNG\r\n\x1a\n" + name.encode() * 9, options)
    raw = np.zeros((70, 70), np.uint8)
    yield Frame.from_array(raw, PixelFormat(bits_stored=8), options)


def test_canaries_stay_out_of_logs_and_messages(tmp_path):
    bundle = write_served_bundle(tmp_path / "bundle")
    work = tmp_path / "work"
    with (
        serving(bundle, work, log_level="DEBUG") as server,
        Client(server.address, device=CANARIES["device"]) as client,
    ):
        answers = list(client.stream(frames(), in_order=True, max_in_flight=1))
        served = [a for a in answers if not isinstance(a, FrameRefusal)]
        refused = [a for a in answers if isinstance(a, FrameRefusal)]
        assert served
        assert served[0].study.study_uid == CANARIES["study"]
        assert served[0].series_uid == CANARIES["series"]
        assert len(refused) >= 6
        assert not {a.reason for a in refused} & {"INTERNAL", ""}
        server.stop()
        log = server.log.read_text()
    assert '"event": "refused"' in log
    told = [refusal.message for refusal in refused]
    for canary in CANARIES.values():
        assert canary not in log
        assert not [message for message in told if canary in message]


def formatted(record):
    return json.loads(JsonFormatter().format(record))


@pytest.fixture
def records():
    kept = []

    class Keep(logging.Handler):
        def emit(self, record):
            kept.append(record)

    root, handler = logging.getLogger(), Keep()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield kept
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_record_of_a_library_keeps_only_its_origin(records):
    logging.getLogger("pydicom").warning("value %s", "Doe^Jane")
    line = formatted(records[-1])
    assert line["event"] == "library"
    assert line["logger"] == "pydicom"
    assert line["at"].startswith("test_privacy.py:")
    assert "Doe" not in json.dumps(line)


def test_an_exception_is_logged_by_type_and_place_alone(records):
    logger = logging.getLogger("spinert.test")
    try:
        raise ValueError("Doe^Jane")
    except ValueError as error:
        event(logger, logging.ERROR, "broken", error=error, frames=3)
        logger.exception("broken too")
    ours, other = (formatted(record) for record in records[-2:])
    assert (ours["event"], ours["error"], ours["frames"]) == ("broken", "ValueError", 3)
    assert ours["at"].startswith("test_privacy.py:")
    assert other["error"] == "ValueError"
    assert "Doe" not in json.dumps([ours, other])


def test_the_reference_of_a_bug_leads_from_the_client_to_the_log(records):
    try:
        raise KeyError("Doe^Jane")
    except KeyError as error:
        refusal = refusal_from_exception(error)
    line = formatted(records[-1])
    assert refusal.status is grpc.StatusCode.INTERNAL
    assert line["reference"] in refusal.message
    assert line["error"] == "KeyError"
    assert "Doe" not in json.dumps(line) + refusal.message


def test_the_canary_files_are_what_they_should_be():
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes()))
    assert str(dataset.PatientName) == CANARIES["name"]


UNCAUGHT = """
import asyncio, gc, threading
from spinert.runtime.server.logs import log_to

class Careless:
    def __del__(self):
        raise ValueError("Doe^Jane")

async def forgotten():
    raise ValueError("Doe^Jane")

async def main():
    task = asyncio.create_task(forgotten())
    await asyncio.wait({task})

def fail():
    raise ValueError("Doe^Jane")

log_to()
asyncio.run(main())
gc.collect()
thread = threading.Thread(target=fail, name="spinert-lane")
thread.start()
thread.join()
Careless()
fail()
"""


def test_an_exception_that_nobody_catches_is_logged_like_any_other():
    done = subprocess.run(
        [sys.executable, "-c", UNCAUGHT], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Doe" not in done.stderr
    task, thread, finaliser, main = map(json.loads, done.stderr.splitlines())
    assert (task["logger"], task["error"]) == ("asyncio", "ValueError")
    assert (thread["event"], thread["thread"]) == ("uncaught", "spinert-lane")
    for line in (thread, finaliser, main):
        assert line["event"] == "uncaught"
        assert line["error"] == "ValueError"
        assert "<string>:" in line["at"]
