"""Hostile frames over gRPC: each gets a typed reason, none harms another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grpc
import imagecodecs
import pytest
from support.data import data_directory, pydicom_data
from support.dicoms import bombs, fragments, mutated, phantom, radiograph
from support.servers import RunningServer, serving, write_served_bundle

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import Client, Frame, FrameOptions, FrameRefusal
from spinert.runtime.errors import Reason

BOMBS = bombs()
MUTANTS = 2000
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    work = tmp_path_factory.mktemp("hostile")
    bundle = write_served_bundle(work / "bundle")
    with serving(bundle, work, decode={"workers": 2}) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def client(server: RunningServer):
    with Client(server.address, device="hostile") as client:
        yield client


def answers(client: Client, contents: list[bytes]) -> list[pb.Result | FrameRefusal]:
    frames = (
        Frame.from_bytes(data, FrameOptions(frame_id=str(i)))
        for i, data in enumerate(contents)
    )
    found = list(client.stream(frames))
    assert [answer.frame_id for answer in found] == [
        str(i) for i in range(len(contents))
    ]
    return found


def outcome(client: Client, data: bytes) -> str:
    """Return the reason of the refusal, or "served"."""
    (answer,) = answers(client, [data])
    if isinstance(answer, FrameRefusal):
        assert answer.status in REFUSED
        assert answer.message
        return answer.reason
    return "served"


EXPECTED = {
    "BROKEN_ct_bad_sequence_multiwindow.dcm": "MODALITY_NOT_ACCEPTED",
    "BROKEN_meta_missing_transfer_syntax.dcm": "MALFORMED_DICOM",
    "BROKEN_mr_truncated_pixeldata.dcm": "MODALITY_NOT_ACCEPTED",
    "BROKEN_no_meta.dcm": "MALFORMED_DICOM",
    "mr_bigendian.dcm": "MODALITY_NOT_ACCEPTED",
    "ot_testpattern_deflated.dcm": "MODALITY_NOT_ACCEPTED",
    "ot_testpattern_modalitylutseq.dcm": "MODALITY_NOT_ACCEPTED",
    "ot_testpattern_voilutseq.dcm": "MODALITY_NOT_ACCEPTED",
    "us_rgb_nonsquare_pixelaspect_4_3.dcm": "COLOUR_IMAGE",
}


def test_every_real_dicom_file_is_served_or_refused_for_its_reason(client):
    folder = data_directory() / "dicom"
    found = {
        path.name: outcome(client, path.read_bytes())
        for path in folder.glob("*")
        if path.is_file()
    }
    assert found == {name: EXPECTED.get(name, "served") for name in found}
    assert Counter(found.values())["served"] >= 8


def test_every_real_spine_picture_is_served(client):
    paths = sorted((data_directory() / "spine" / "images").glob("*.jpg"))
    found = answers(client, [path.read_bytes() for path in paths])
    assert len(found) > 20
    assert all(isinstance(answer, pb.Result) for answer in found)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(client, name):
    assert outcome(client, BOMBS[name]) != "served"


def test_a_colour_frame_of_another_modality_and_many_frames_are_refused(client):
    expected = {
        "SC_rgb.dcm": {Reason.MODALITY_NOT_ACCEPTED, Reason.COLOUR_IMAGE},
        "emri_small.dcm": {Reason.MODALITY_NOT_ACCEPTED, Reason.MULTI_FRAME},
        "color3d_jpeg_baseline.dcm": {
            Reason.MODALITY_NOT_ACCEPTED,
            Reason.COLOUR_IMAGE,
            Reason.MULTI_FRAME,
        },
    }
    for name, reasons in expected.items():
        assert outcome(client, pydicom_data(name).read_bytes()) in reasons


def test_mutated_files_never_harm_the_server(client, server):
    pixels = phantom()
    streams = {
        "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_encode(pixels, bitspersample=12),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(pixels),
        "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(pixels, reversible=True),
    }
    seeds = [
        radiograph(pixels),
        *(
            radiograph(pixels, bits=12, syntax=syntax, stream=fragments(stream))
            for syntax, stream in streams.items()
        ),
        pydicom_data("vlut_04.dcm").read_bytes(),
    ]
    assert [outcome(client, seed) for seed in seeds[:4]] == ["served"] * 4
    contents = [mutated(seeds[i % len(seeds)], seed=i) for i in range(MUTANTS)]
    found = answers(client, contents)
    refusals = [answer for answer in found if isinstance(answer, FrameRefusal)]
    assert {answer.status for answer in refusals} <= REFUSED
    assert {answer.reason for answer in refusals} <= set(Reason) - {Reason.INTERNAL}
    # The mutations bite, and not everything is refused.
    assert MUTANTS * 0.3 < len(refusals) < MUTANTS
    assert server.process.poll() is None
    assert outcome(client, seeds[0]) == "served"


def test_a_crowd_of_bombs_leaves_the_others_served(client):
    good = radiograph(phantom())
    contents = [data for bomb in BOMBS.values() for data in (bomb, good)]
    found = answers(client, contents)
    assert all(isinstance(answer, pb.Result) for answer in found[1::2])
    assert all(isinstance(answer, FrameRefusal) for answer in found[::2])


def test_nothing_but_structured_events_is_logged(server):
    names = {event["event"] for event in server.events()}
    assert names
    assert all(isinstance(name, str) for name in names)
    text = Path(server.log).read_text()
    assert "Traceback" not in text
