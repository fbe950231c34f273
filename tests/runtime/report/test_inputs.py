from __future__ import annotations

from pathlib import Path

import pytest

from spinert.runtime.errors import ConfigError
from spinert.runtime.report.inputs import frame_paths
from spinert.runtime.report.pictures import picture_names


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.DCM").write_bytes(b"")
    (tmp_path / "sub" / "a.jpg").write_bytes(b"")
    (tmp_path / "no_suffix").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.dcm").write_bytes(b"")
    return tmp_path


def test_a_folder_gives_what_ends_or_begins_like_a_frame(folder):
    names = [path.name for path in frame_paths([folder])]
    assert names == ["b.DCM", "no_suffix", "picture", "a.jpg"]


def test_a_file_is_taken_whatever_it_is_called(folder):
    assert frame_paths([folder / "notes.txt"]) == [folder / "notes.txt"]


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(ConfigError, match="absent does not exist"):
        frame_paths([tmp_path / "absent"])


def test_a_folder_without_frames_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no DICOM, PNG or JPEG"):
        frame_paths([tmp_path])


def test_pictures_of_files_with_one_name_do_not_overwrite_each_other():
    paths = [Path("a/x.dcm"), Path("b/x.dcm"), Path("x-2.dcm"), Path("y.jpg")]
    names = picture_names(paths)
    assert names[0] == "x.png"
    assert len(set(names)) == 4
