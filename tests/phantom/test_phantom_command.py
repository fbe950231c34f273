"""`spinert phantom`, with real phantoms."""

from __future__ import annotations

from functools import partial

import pydicom
import pytest

from spinert.cli import cli, main
from spinert.commands.phantom import phantom
from spinert.phantom.compression import COMPRESSIONS


def spinert(*words, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main(partial(cli, [str(word) for word in words]))
    assert ended.value.code == code


def phantoms(directory, *words, code: int = 0) -> None:
    spinert("phantom", "-n", 2, "--long-edge", 256, "-o", directory, *words, code=code)


def test_it_writes_a_data_set_and_counts_its_labels(tmp_path, capsys):
    phantoms(tmp_path / "data", "--seed", 7, "--jobs", 1, "--compress", "jpeg-ls")
    told = capsys.readouterr().out
    assert "No finding" in told
    assert "2 images written to" in told
    images = sorted((tmp_path / "data" / "test_images").iterdir())
    sizes = set()
    for path in images:
        image = pydicom.dcmread(path, stop_before_pixels=True)
        sizes.add(max(image.Rows, image.Columns))
        assert image.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLSLossless
    assert len(images) == 2
    assert sizes == {256}


def test_a_folder_in_use_ends_with_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    phantoms(tmp_path, code=2)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"error: {tmp_path} holds thesis.tex and is no data set")


def test_every_compression_can_be_chosen():
    [option] = [p for p in phantom.params if p.name == "compression"]
    assert list(option.type.choices) == list(COMPRESSIONS)


@pytest.mark.parametrize("words", [("--compress", "zip"), ("-n", 0), ("--seed", -1)])
def test_what_cannot_be_meant_is_refused_before_anything_is_written(tmp_path, words):
    phantoms(tmp_path / "data", *words, code=2)
    assert not (tmp_path / "data").exists()
