"""A data set of phantoms on disk."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial

import pydicom
import pytest
from support.phantoms import ramp_phantom

from spinert.phantom.dicom import PhantomKey, sop_instance_uid
from spinert.phantom.errors import DestinationError, PhantomError
from spinert.phantom.table import label_counts
from spinert.phantom.truth import LESIONS
from spinert.phantom.writing import PhantomOrder, write_phantoms


@pytest.fixture
def order(tmp_path) -> PhantomOrder:
    return PhantomOrder(
        directory=tmp_path / "data", split="test", count=5, seed=7, long_edge_px=100
    )


def write(order, draw=ramp_phantom):
    return write_phantoms(order, lambda: None, draw)


def files(directory) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Broken(Exception):
    pass


def broken_from(index: int, key: PhantomKey):
    if key.index >= index:
        raise Broken
    return ramp_phantom(key)


def killed_at(index: int, key: PhantomKey):
    if key.index == index:
        os._exit(9)
    return ramp_phantom(key)


def counted(calls: list[int], key: PhantomKey):
    calls.append(key.index)
    return ramp_phantom(key)


def test_images_and_tables_lie_where_those_of_vindr_spinexr_do(order):
    write(order)
    data = order.directory
    images = sorted(path.name for path in (data / "test_images").iterdir())
    table = rows(data / "annotations" / "test.csv")
    assert list(table[0]) == [
        "image_id",
        "study_id",
        "series_id",
        "lesion_type",
        "xmin",
        "ymin",
        "xmax",
        "ymax",
    ]
    assert images == sorted({f"{row['image_id']}.dicom" for row in table})
    assert len(images) == order.count
    assert {
        row["image_id"] for row in rows(data / "annotations" / "vertebrae.csv")
    } == {row["image_id"] for row in table}


def test_names_in_the_table_are_those_in_the_files(order):
    write(order)
    for row in rows(order.directory / "annotations" / "test.csv"):
        path = order.directory / "test_images" / f"{row['image_id']}.dicom"
        told = pydicom.dcmread(path, stop_before_pixels=True)
        assert told.SOPInstanceUID == row["image_id"]
        assert told.StudyInstanceUID == row["study_id"]
        assert told.SeriesInstanceUID == row["series_id"]


def test_a_normal_image_has_one_row_without_a_box(order):
    write(order)
    table = rows(order.directory / "annotations" / "test.csv")
    normal = [row for row in table if row["lesion_type"] == "No finding"]
    assert len(normal) == 3
    assert {row[edge] for row in normal for edge in ("xmin", "ymax")} == {""}
    abnormal = [row for row in table if row["lesion_type"] == "Osteophytes"]
    boxes = {
        tuple(float(r[e]) for e in ("xmin", "ymin", "xmax", "ymax")) for r in abnormal
    }
    assert boxes == {(10.25, 20.0, 40.5, 60.0)}


def test_the_index_tells_what_the_split_was_made_from(order):
    write(order)
    index = json.loads((order.directory / "phantom.json").read_text())
    assert index["splits"]["test"] == {
        "seed": 7,
        "count": 5,
        "long_edge_px": 100,
        "compression": None,
        "phantom_version": "1",
        "is_complete": True,
    }


def test_several_processes_write_the_same_files_as_one(order, tmp_path):
    other = replace(order, directory=tmp_path / "other", jobs=2)
    assert write(order) == write(other)
    assert files(order.directory) == files(other.directory)


def test_a_broken_off_order_goes_on_without_drawing_anything_twice(order, tmp_path):
    with pytest.raises(Broken):
        write(order, partial(broken_from, 3))
    assert not (order.directory / "annotations" / "test.csv").exists()
    drawn: list[int] = []
    told = write(order, partial(counted, drawn))
    assert drawn == [3, 4]
    other = replace(order, directory=tmp_path / "other")
    assert told == write(other)
    assert files(order.directory) == files(other.directory)


def test_an_image_that_vanished_meanwhile_is_drawn_again(order):
    with pytest.raises(Broken):
        write(order, partial(broken_from, 3))
    first = sop_instance_uid(next(order.image_keys()))
    lost = order.directory / "test_images" / f"{first}.dicom"
    lost.unlink()
    drawn: list[int] = []
    told = write(order, partial(counted, drawn))
    assert drawn == [0, 3, 4]
    assert lost.is_file()
    assert [truth.index for truth in told] == [0, 1, 2, 3, 4]


def test_a_torn_line_of_the_journal_costs_one_image(order):
    with pytest.raises(Broken):
        write(order, partial(broken_from, 3))
    journal = order.directory / "annotations" / "test.unfinished.jsonl"
    journal.write_text(journal.read_text()[:-20])
    drawn: list[int] = []
    with pytest.raises(Broken):
        write(order, partial(broken_from, 3))
    write(order, partial(counted, drawn))
    assert drawn == [3, 4]


def test_progress_counts_every_image_also_one_that_was_there(order):
    with pytest.raises(Broken):
        write(order, partial(broken_from, 3))
    done: list[int] = []
    write_phantoms(order, lambda: done.append(1), ramp_phantom)
    assert len(done) == order.count


def test_an_unfinished_split_of_another_order_is_left_alone(order):
    with pytest.raises(Broken):
        write(order, partial(broken_from, 3))
    before = files(order.directory)
    with pytest.raises(DestinationError, match="with seed 7, not 8"):
        write(replace(order, seed=8))
    assert files(order.directory) == before


def test_a_finished_split_is_not_written_over(order):
    write(order)
    with pytest.raises(DestinationError, match=r"split 'test' already \(5 images of"):
        write(order)


def test_a_second_split_joins_the_first(order):
    write(order)
    write(replace(order, split="train", seed=8))
    annotations = order.directory / "annotations"
    images = Counter(row["image_id"] for row in rows(annotations / "vertebrae.csv"))
    assert len(images) == 10
    assert set(images.values()) == {1}
    index = json.loads((order.directory / "phantom.json").read_text())
    assert set(index["splits"]) == {"test", "train"}


def test_a_folder_of_something_else_is_refused_by_name(order):
    order.directory.mkdir()
    (order.directory / "thesis.tex").write_text("precious")
    with pytest.raises(DestinationError, match=r"holds thesis\.tex and is no data set"):
        write(order)
    assert list(files(order.directory)) == ["thesis.tex"]


@pytest.mark.parametrize("split", ["", "a/b", "..", "vertebrae"])
def test_a_split_that_would_hide_other_files_is_refused(order, split):
    with pytest.raises(DestinationError, match="a split cannot be called"):
        write(replace(order, split=split))


def test_two_commands_do_not_write_one_data_set_at_a_time(order):
    def nested(key):
        with pytest.raises(DestinationError, match="another process writes"):
            write(replace(order, split="train"))
        return ramp_phantom(key)

    write(order, nested)


def test_a_file_that_cannot_be_written_is_told_with_the_way_out(order):
    order.directory.parent.joinpath("data").write_text("a file")
    with pytest.raises(DestinationError, match="is a file; name a directory"):
        write(order)


def test_a_killed_process_says_that_the_command_may_be_given_again(order):
    with pytest.raises(PhantomError, match="run the same command again"):
        write(replace(order, jobs=2), partial(killed_at, 4))
    write(replace(order, jobs=2))


def test_a_split_broken_off_behind_its_tables_has_every_row_once(order):
    write(order)
    index = order.directory / "phantom.json"
    index.write_text(index.read_text().replace("true", "false"))
    write(order)
    assert '"is_complete": true' in index.read_text()
    annotations = order.directory / "annotations"
    assert len(rows(annotations / "vertebrae.csv")) == order.count
    names = sorted(path.name for path in annotations.iterdir())
    assert names == ["test.csv", "vertebrae.csv"]


def test_labels_are_counted_by_image_and_by_box(order):
    def two_boxes(key):
        phantom = ramp_phantom(key)
        return replace(phantom, findings=2 * phantom.findings)

    counts = {entry.label: entry for entry in label_counts(write(order, two_boxes))}
    assert list(counts) == [*LESIONS, "No finding"]
    assert (counts["Osteophytes"].images, counts["Osteophytes"].boxes) == (2, 4)
    assert counts["No finding"].images == 3
