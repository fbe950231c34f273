"""Pictures are drawn of what can be, and whatever cannot be says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.dicoms import phantom, radiograph

from spinert.proto import inference_pb2 as pb
from spinert.runtime.decode.process import DecodeProcess
from spinert.runtime.errors import ConfigError, Reason, SetupError
from spinert.runtime.report.pictures import picture_names, write_pictures

MODALITY = 0x00080060


def drawn(directory: Path, *paths: Path):
    done = []
    named = zip(paths, picture_names(paths), strict=True)
    results = [(path, name, pb.Result()) for path, name in named]
    missing = write_pictures(results, directory, lambda: done.append(1))
    assert len(done) == len(paths)
    return missing


def test_a_file_that_is_gone_costs_its_own_picture_only(tmp_path):
    good, gone = tmp_path / "good.dcm", tmp_path / "gone.dcm"
    good.write_bytes(radiograph(phantom()))
    [(path, why)] = drawn(tmp_path / "out", gone, good)
    assert (path, why) == (gone, "No such file or directory")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.png"]


def test_a_modality_that_only_the_server_accepts_is_drawn(tmp_path):
    path = tmp_path / "mammogram.dcm"
    path.write_bytes(radiograph(phantom(), changes={MODALITY: ("CS", "MG")}))
    assert drawn(tmp_path / "out", path) == []


def test_without_decoders_it_ends_with_one_message(tmp_path, monkeypatch):
    def absent(self):
        self.close()
        raise SetupError(Reason.CONFIG_INVALID, "the package x is not installed")

    monkeypatch.setattr(DecodeProcess, "wait_ready", absent)
    path = tmp_path / "good.dcm"
    path.write_bytes(radiograph(phantom()))
    with pytest.raises(SetupError, match=r"x is not installed.*spinert\[cpu\]"):
        drawn(tmp_path / "out", path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "good.dcm"
    path.write_bytes(radiograph(phantom()))
    with pytest.raises(ConfigError, match=r"good\.png: Not a directory"):
        drawn(path / "out", path)
