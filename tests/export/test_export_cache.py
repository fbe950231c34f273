"""A second export of the same recipe converts nothing; any difference converts."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from pathlib import Path

import onnx
import pytest
from support.onnx_files import (
    QUICK_RECIPE,
    classifier_file,
    imported_files,
    yolo_file,
)
from support.small_networks import SMALL, write_recipe

from spinert.export import cache_key
from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.cache import ExportCache, default_cache_directory
from spinert.export.cache_key import key_from_export
from spinert.export.errors import DestinationError, ExportError
from spinert.export.members import opened_recipe
from spinert.export.pipeline import Resources, export_bundle
from spinert.export.plan import bundle_from_recipe
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb

KEPT = "kept from an earlier export"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two small ONNX files and a recipe for them."""
    return imported_files(tmp_path, QUICK_RECIPE).parent


def exported(folder: Path, cache: ExportCache | None, name: str) -> list[str]:
    """Export; return the roles that were taken from the cache."""
    steps: list[str] = []
    export_bundle(
        folder / "recipe.toml",
        folder / name,
        lambda text, _: steps.append(text),
        resources=Resources(cache=cache),
    )
    return [step.partition(":")[0] for step in steps if KEPT in step]


def content(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in paths}


def test_a_second_export_is_the_same_and_converts_nothing(folder, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    cache = ExportCache(folder / "cache")
    assert exported(folder, None, "without") == []
    assert exported(folder, cache, "first") == []
    assert exported(folder, cache, "second") == [CLASSIFIER, DETECTOR]
    assert content(folder / "second") == content(folder / "first")
    assert content(folder / "second") == content(folder / "without")


def test_another_classifier_leaves_the_detector_in_the_cache(folder) -> None:
    cache = ExportCache(folder / "cache")
    exported(folder, cache, "first")
    classifier_file(folder / "first.onnx", seed=9)
    assert exported(folder, cache, "second") == [DETECTOR]


def test_a_network_that_is_made_is_kept_though_the_next_one_fails(folder) -> None:
    cache = ExportCache(folder / "cache")
    detector = (folder / "yolo.onnx").read_bytes()
    yolo_file(folder / "yolo.onnx", size=(160, 160), classes=3)
    with pytest.raises(ExportError):
        exported(folder, cache, "first")
    (folder / "yolo.onnx").write_bytes(detector)
    assert exported(folder, cache, "second") == [CLASSIFIER]


def keys(folder: Path, text: str = QUICK_RECIPE) -> dict[str, str]:
    recipe = recipe_from_toml(write_recipe(folder, text))
    opened = opened_recipe(recipe, SMALL)
    bundle = bundle_from_recipe(recipe, opened)
    return {
        role: key_from_export(recipe, opened, bundle, role)
        for role in (CLASSIFIER, DETECTOR)
    }


CHANGES = {
    "a mapping": ("two_logits", "two_probabilities", {CLASSIFIER}),
    "the name of a member": ('name = "first"', 'name = "1st"', {CLASSIFIER}),
    "a canvas": ("height = 64", "height = 96", {CLASSIFIER}),
    "a mean": ("mean = [0,", "mean = [1,", {DETECTOR}),
    "the golden sizes": ("[128, 160]]", "[160, 160]]", {CLASSIFIER, DETECTOR}),
    "the batch sizes": ("[1, 2]", "[1, 3]", {CLASSIFIER, DETECTOR}),
    "the seed": ("[golden]", "[golden]\nseed = 2", {CLASSIFIER, DETECTOR}),
    "the precisions": ('["fp32"]', '["fp32", "fp16"]', {CLASSIFIER, DETECTOR}),
    "the threshold": (
        "[golden]",
        "[bundle.decision]\nthreshold = 0.4\n[golden]",
        {CLASSIFIER, DETECTOR},
    ),
    "the name": ('name = "imported"', 'name = "other"', set()),
    "the version": ('version = "1"', 'version = "2"', set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_key_follows_what_decides_a_network(folder, change) -> None:
    old, new, changed = CHANGES[change]
    before, after = keys(folder), keys(folder, QUICK_RECIPE.replace(old, new, 1))
    assert {role for role in before if before[role] != after[role]} == changed


SPARSE = '"small_sparse_rcnn"\ncheckpoint = "untrained:3"\n'
UNTRAINED = QUICK_RECIPE.replace(
    '"onnx"\ncheckpoint = "yolo.onnx"\nmapping = { head = "dense" }\n', SPARSE
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("untrained:3", "untrained:4"),
        (SPARSE, SPARSE + "options = { frozen_bn_eps = 0.0 }\n"),
    ],
)
def test_seeds_and_options_are_in_the_key(folder, old, new) -> None:
    before, after = keys(folder, UNTRAINED), keys(folder, UNTRAINED.replace(old, new))
    assert before[DETECTOR] != after[DETECTOR]
    assert before[CLASSIFIER] == after[CLASSIFIER]


def test_weights_outside_an_onnx_file_are_in_the_key(folder) -> None:
    model = onnx.load(folder / "yolo.onnx")
    weights = folder / "weights.bin"
    settings = {"location": weights.name, "size_threshold": 0}
    onnx.save_model(model, folder / "yolo.onnx", save_as_external_data=True, **settings)
    unchanged = (folder / "yolo.onnx").read_bytes()
    before = keys(folder)
    weights.write_bytes(b"\0\0\0\x3f" + weights.read_bytes()[4:])
    assert keys(folder)[DETECTOR] != before[DETECTOR]
    assert (folder / "yolo.onnx").read_bytes() == unchanged


def test_versions_and_code_are_in_the_key(folder, monkeypatch) -> None:
    before = keys(folder)
    with monkeypatch.context() as patch:
        patch.setattr(cache_key, "package_versions", lambda: {"torch": "0"})
        assert keys(folder)[DETECTOR] != before[DETECTOR]
    with monkeypatch.context() as patch:
        patch.setattr(cache_key, "source_sha256", lambda: "0")
        assert keys(folder)[DETECTOR] != before[DETECTOR]
    assert keys(folder) == before


def test_a_changed_line_of_code_changes_the_hash_of_the_sources(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("x = 1\n")
    (tmp_path / "notes.txt").write_text("not code")
    monkeypatch.setattr(cache_key, "files", lambda _: tmp_path)
    hashes = [cache_key.source_sha256()]
    (tmp_path / "notes.txt").write_text("still not code")
    hashes.append(cache_key.source_sha256())
    (tmp_path / "inner" / "a.py").write_text("x = 2\n")
    hashes.append(cache_key.source_sha256())
    assert hashes[0] == hashes[1] != hashes[2]


# ------------------------------------------------------------------- the store


def fragment(role: str = DETECTOR) -> pb.Bundle:
    part = pb.Bundle()
    part.networks[role].file = "networks/detector.onnx"
    part.networks[role].precision = "fp32"
    return part


def bundle_folder(path: Path, size: int = 100) -> Path:
    (path / "networks").mkdir(parents=True)
    (path / "networks" / "detector.onnx").write_bytes(bytes(size))
    return path


FILES = ("networks/detector.onnx",)


@pytest.fixture
def cache(tmp_path: Path) -> ExportCache:
    """Return a cache with one entry, `key`."""
    made = ExportCache(tmp_path / "cache")
    made.store("key", fragment(), bundle_folder(tmp_path / "source"), FILES)
    return made


def test_what_was_stored_is_found(cache, tmp_path) -> None:
    found = cache.lookup("key", tmp_path / "new")
    assert found == fragment()
    assert (tmp_path / "new" / FILES[0]).read_bytes() == bytes(100)
    assert cache.lookup("other", tmp_path / "new") is None


def test_a_cache_that_is_read_only_serves_what_it_has(
    cache, tmp_path, monkeypatch
) -> None:
    def read_only(_path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("spinert.export.cache.os.utime", read_only)
    assert cache.lookup("key", tmp_path / "new") == fragment()


def test_a_copy_is_no_link_into_the_cache(cache, tmp_path) -> None:
    cache.lookup("key", tmp_path / "new")
    copy = tmp_path / "new" / FILES[0]
    assert copy.stat().st_nlink == 1
    copy.write_bytes(b"changed")
    assert cache.lookup("key", tmp_path / "again") is not None


def cut(entry: Path) -> None:
    path = entry / FILES[0]
    path.write_bytes(path.read_bytes()[:-1])


def flipped(entry: Path) -> None:
    path = entry / FILES[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def index_changed(entry: Path) -> None:
    path = entry / "bundle.json"
    path.write_text(path.read_text().replace("fp32", "fp16"))


def opened_to_others(entry: Path) -> None:
    (entry / FILES[0]).chmod(0o666)


def folder_opened_to_others(entry: Path) -> None:
    entry.chmod(0o777)


def linked(entry: Path) -> None:
    path = entry / FILES[0]
    target = entry.parent.parent / "target"
    path.rename(target)
    path.symlink_to(target)


DAMAGES = {
    "cut": cut,
    "flipped": flipped,
    "index changed": index_changed,
    "index missing": lambda entry: (entry / "bundle.json").unlink(),
    "file missing": lambda entry: (entry / FILES[0]).unlink(),
    "open to others": opened_to_others,
    "folder open to others": folder_opened_to_others,
    "linked": linked,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_dropped_and_said_so(
    cache, tmp_path, caplog, damage
) -> None:
    DAMAGES[damage](cache.directory / "key")
    with caplog.at_level(logging.WARNING):
        assert cache.lookup("key", tmp_path / "new") is None
    assert "damaged; made again" in caplog.text
    assert not (cache.directory / "key").exists()
    assert content(tmp_path / "new") == {}
    cache.store("key", fragment(), tmp_path / "source", FILES)
    assert cache.lookup("key", tmp_path / "new") == fragment()


def test_the_first_of_two_writers_wins(cache, tmp_path) -> None:
    cache.store("key", fragment(), bundle_folder(tmp_path / "late", 7), FILES)
    cache.lookup("key", tmp_path / "new")
    assert (tmp_path / "new" / FILES[0]).stat().st_size == 100
    assert [path.name for path in cache.directory.iterdir()] == ["key"]


def test_entries_used_longest_ago_go_first(tmp_path) -> None:
    source = bundle_folder(tmp_path / "source", 10_000)
    cache = ExportCache(tmp_path / "cache", max_bytes=35_000)
    for index, name in enumerate("abc"):
        cache.store(name, fragment(), source, FILES)
        os.utime(cache.directory / name, (1000 + index, 1000 + index))
    assert cache.lookup("a", tmp_path / "new") is not None
    cache.store("d", fragment(), source, FILES)
    assert {path.name for path in cache.directory.iterdir()} == {"a", "c", "d"}


def test_what_a_killed_process_left_goes_after_a_day(cache, tmp_path) -> None:
    for name, age_s in ((".new-old", 100_000), (".new-young", 10)):
        (cache.directory / name).mkdir()
        then = time.time() - age_s
        os.utime(cache.directory / name, (then, then))
    cache.store("next", fragment(), tmp_path / "source", FILES)
    left = {path.name for path in cache.directory.iterdir()}
    assert left == {"key", "next", ".new-young"}


def test_without_room_the_export_goes_on_with_a_warning(
    cache, tmp_path, caplog, monkeypatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with caplog.at_level(logging.WARNING):
        cache.store("next", fragment(), tmp_path / "source", FILES)
    assert "No space left on device" in caplog.text
    assert {path.name for path in cache.directory.iterdir()} == {"key"}


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, mode) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(DestinationError, match="only you can write to"):
        ExportCache(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="cannot be made; choose another"):
        ExportCache(tmp_path / "file" / "cache")


def test_the_default_folder_follows_the_xdg_specification(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / "spinert" / "export"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = tmp_path / "home" / ".cache" / "spinert" / "export"
    assert default_cache_directory() == expected
