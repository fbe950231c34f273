"""Predictions on disk survive crashes, changes of mind and round trips."""

from __future__ import annotations

import json

import pytest
from support.evaluations import other, result_of, subject

from spinert.evaluation.asking import ImageFile, answer_of, no_answer_of
from spinert.evaluation.errors import StoreError
from spinert.evaluation.store import Store, read_store


def image(image_id="a", data=b"bytes"):
    return ImageFile(image_id=image_id, split="test", sha256=f"of-{data!r}", data=data)


def answer(image_id="a", data=b"bytes"):
    return answer_of(image(image_id, data), result_of(data))


def write(path, *outcomes, of=None):
    with Store(path, of or subject()) as store:
        for outcome in outcomes:
            store.add(outcome)
    return store


def test_what_is_written_is_read_exactly(tmp_path):
    path = tmp_path / "deep" / "store.jsonl"
    refused = no_answer_of(image("b"), "COLOUR_IMAGE", "send grey", is_refusal=True)
    write(path, answer(), refused)
    found = read_store(path)
    assert found.subject == subject()
    assert found.outcomes == {"a": answer(), "b": refused}


def test_no_attribute_of_an_image_is_written(tmp_path):
    path = tmp_path / "store.jsonl"
    result = result_of(b"x")
    result.study_uid, result.series_uid = "1.2.3.4", "5.6.7"
    write(path, answer_of(image(), result))
    text = path.read_text()
    assert "1.2.3.4" not in text
    assert "5.6.7" not in text


def test_an_image_is_known_by_name_and_content(tmp_path):
    path = tmp_path / "store.jsonl"
    write(path, answer())
    with Store(path, subject()) as store:
        assert store.answer("a", image().sha256) == answer()
        assert store.answer("a", "other bytes") is None
        assert store.answer("b", image().sha256) is None


def test_a_refused_image_is_asked_again(tmp_path):
    path = tmp_path / "store.jsonl"
    write(path, no_answer_of(image(), "DECODE_TIMEOUT", "slow", is_refusal=True))
    with Store(path, subject()) as store:
        assert store.answer("a", image().sha256) is None


def test_the_last_line_about_an_image_counts(tmp_path):
    path = tmp_path / "store.jsonl"
    write(path, answer("a"), answer("b"), answer("a", b"changed"))
    outcomes = read_store(path).outcomes
    assert list(outcomes) == ["b", "a"]
    assert outcomes["a"] == answer("a", b"changed")


def test_an_outcome_is_in_the_file_before_the_next_is_asked_for(tmp_path):
    path = tmp_path / "store.jsonl"
    with Store(path, subject()) as store:
        store.add(answer("a"))
        assert list(read_store(path).outcomes) == ["a"]


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_cut_off_by_a_crash_is_written_over(tmp_path, cut):
    path = tmp_path / "store.jsonl"
    write(path, answer("a"), answer("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_store(path).outcomes) == ["a"]
    write(path)
    assert path.read_bytes().endswith(b"\n")
    write(path, answer("c"))
    assert list(read_store(path).outcomes) == ["a", "c"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bundle_sha256": "cd" * 32}, "bundle"),
        ({"backend": "other 2"}, "backend"),
        ({"precision": "fp16"}, "precision"),
    ],
)
def test_predictions_of_something_else_are_set_aside_whole(tmp_path, change, what):
    path = tmp_path / "store.jsonl"
    write(path, answer())
    content = path.read_bytes()
    store = write(path, of=other(subject(), **change))
    assert store.changes == (what,)
    assert store.set_aside.read_bytes() == content
    assert read_store(path).outcomes == {}


def test_what_was_set_aside_is_never_written_over(tmp_path):
    path = tmp_path / "store.jsonl"
    for precision in ("fp32", "fp16", "fp32", "fp16"):
        write(path, answer(precision), of=other(subject(), precision=precision))
    kept = sorted(path.parent.glob("store-*.jsonl"))
    held = [list(read_store(p).outcomes) for p in kept]
    assert held == [["fp16"], ["fp32"], ["fp32"]]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "store.jsonl"
    write(path, answer("a"), answer("b"))
    lines = path.read_text().splitlines()
    values = json.loads(lines[1])
    del values["probability"]
    lines[1] = json.dumps(values)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StoreError, match=r"line 2: not a prediction"):
        read_store(path)


@pytest.mark.parametrize("content", ["", "[]\n", "{}\n", "text\n", '{"format": 1}\n'])
def test_a_file_that_is_no_store_is_left_alone(tmp_path, content):
    path = tmp_path / "store.jsonl"
    path.write_text(content)
    with pytest.raises(StoreError, match="is not a file of predictions"):
        Store(path, subject())
    assert path.read_text() == content


def test_a_store_that_is_missing_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read .*gone\.jsonl: No such file"):
        read_store(tmp_path / "gone.jsonl")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "file" / "store.jsonl", subject())
