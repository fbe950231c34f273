"""From a recipe to a bundle: plan, make the networks, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch

from spinert import __version__
from spinert.export.architecture import CLASSIFIER, DETECTOR, Architecture
from spinert.export.architectures import ARCHITECTURES
from spinert.export.bundle_writer import (
    creation_time,
    package_versions,
    staged,
    write_golden_image,
    write_index,
)
from spinert.export.cache import ExportCache
from spinert.export.cache_fragment import add_fragment
from spinert.export.loading import check_files
from spinert.export.making import (
    ExportPlan,
    NetworkMaking,
    Report,
    export_plan,
    torch_threads,
)
from spinert.export.recipe import recipe_from_toml
from spinert.export.workers import NetworkWorker, WorkOrder, plan_key
from spinert.proto import bundle_pb2 as pb

__all__ = ["Progress", "Resources", "export_bundle"]

Progress = Callable[[str, float], None]
"""Told what begins, and the fraction (0 to 1) that is done."""

_SHARES: Final = {CLASSIFIER: 0.3, DETECTOR: 0.67}
"""Of the time, by role; in the order in which the bundle records them."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What an export may use; the bundle does not depend on it."""

    cache: ExportCache | None = None
    """Holds networks of earlier exports and takes those of this one. It tells
    architectures apart by their names."""
    workers: int = 1
    """Processes that may make networks at the same time."""


@dataclass(kw_only=True)
class _Progress:
    """The progress of all networks as one."""

    tell: Progress
    done: dict[str, float] = field(default_factory=dict)

    def of(self, role: str) -> Report:
        """Return what the making of one network reports to."""

        def report(text: str, fraction: float) -> None:
            self.done[role] = fraction
            whole = sum(_SHARES[each] * part for each, part in self.done.items())
            self.tell(f"{role}: {text}", whole)

        return report


@dataclass(kw_only=True)
class _Export:
    """One export in progress."""

    plan: ExportPlan
    """Without the weights of the networks whose making has begun."""
    folder: Path
    progress: _Progress
    cache: ExportCache | None
    parts: dict[str, pb.Bundle] = field(default_factory=dict)
    """What each network that is done adds to the bundle."""
    keys: dict[str, str] = field(default_factory=dict)
    """See `key`."""

    def key(self, role: str) -> str:
        """Return the hash of what decides a network, computed when first asked for."""
        if role not in self.keys:
            self.keys[role] = plan_key(self.plan, role)
        return self.keys[role]

    def networks(self, *, beside: bool) -> None:
        """Take each network from the cache, or make it and keep it there.

        Args:
            beside: All but the last to make are made in processes of their own, while
                this one makes the last.
        """
        for role in _SHARES:
            self._take(role)
        missing = [role for role in _SHARES if role not in self.parts]
        with ExitStack() as stack:
            folders = {
                role: Path(
                    stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder))
                )
                for role in missing
            }
            # Sums depend on the number of threads: it is the same for a network that
            # is made beside another and for one that is made alone.
            threads = max(1, torch.get_num_threads() // len(_SHARES))
            stack.enter_context(torch_threads(threads))
            if beside and len(folders) > 1:
                self._make_beside(folders, threads)
            else:
                for role, folder in folders.items():
                    self._make(role, folder)
        for role in _SHARES:
            add_fragment(self.plan.bundle, self.parts[role])

    def _take(self, role: str) -> None:
        if self.cache is None:
            return
        kept = self.cache.lookup(self.key(role), self.folder)
        if kept is not None:
            self.parts[role] = kept
            self.progress.of(role)("kept from an earlier export", 1.0)

    def _make_beside(self, folders: Mapping[str, Path], threads: int) -> None:
        """Make the last network here and the others in processes of their own."""
        *others, last = folders
        with _workers() as workers:
            for role in others:
                order = WorkOrder(
                    recipe=self.plan.recipe,
                    role=role,
                    folder=folders[role],
                    key=self.key(role),
                    threads=threads,
                )
                workers[role] = NetworkWorker(order, self.progress.of(role))
                self._let_go(role)

            def report(text: str, fraction: float) -> None:
                self.progress.of(last)(text, fraction)
                for worker in workers.values():
                    worker.follow()

            making = self._making(last, folders[last], report)
            making.make_single()
            # Half precision takes the most memory: it has the machine for itself.
            for role, worker in workers.items():
                self._finish(role, worker.made(), folders[role])
            making.make_half()
            self._finish(last, making.made(), folders[last])

    def _make(self, role: str, folder: Path) -> None:
        making = self._making(role, folder, self.progress.of(role))
        making.make_single()
        making.make_half()
        self._finish(role, making.made(), folder)

    def _making(self, role: str, folder: Path, report: Report) -> NetworkMaking:
        """Hand the weights of a network over to its making."""
        making = NetworkMaking(self.plan, role, folder, report)
        self._let_go(role)
        return making

    def _let_go(self, role: str) -> None:
        opened = self.plan.opened.without_weights(role)
        self.plan = replace(self.plan, opened=opened)

    def _finish(self, role: str, part: pb.Bundle, folder: Path) -> None:
        """Keep a network and move its files into the bundle."""
        made = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in made]
        if self.cache is not None:
            self.cache.store(self.key(role), part, folder, names)
        for path, name in zip(made, names, strict=True):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        self.parts[role] = part
        self.progress.done[role] = 1.0

    def golden(self) -> None:
        """Write the frames of the golden set."""
        frames = self.plan.bundle.golden.frames
        for frame, image in zip(frames, self.plan.images, strict=True):
            write_golden_image(self.folder / frame.image, image.stored)

    def provenance(self) -> None:
        """Record who made this bundle from what."""
        provenance = self.plan.bundle.provenance
        provenance.created_at = creation_time()
        provenance.exporter_version = __version__
        provenance.preset = self.plan.recipe.preset
        provenance.recipe_sha256 = self.plan.recipe.sha256
        provenance.packages.update(package_versions())


@contextmanager
def _workers() -> Iterator[dict[str, NetworkWorker]]:
    """Give a place for workers; none outlives it."""
    workers: dict[str, NetworkWorker] = {}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.end()


def export_bundle(
    recipe_path: Path,
    directory: Path,
    progress: Progress,
    *,
    replace: bool = False,
    architectures: Mapping[str, Architecture] = ARCHITECTURES,
    resources: Resources = Resources(),
) -> pb.Bundle:
    """Write the bundle that a recipe describes.

    Either `directory` holds a complete bundle afterwards, whose graphs ONNX Runtime
    computes as PyTorch does, or nothing has changed there.

    Args:
        recipe_path: TOML, see `spinert.export.recipe`.
        directory: Must not exist, be empty, or hold a bundle to `replace`.
        progress: Called at the start of each step, in the thread of the caller.
        replace: Take the place of the bundle in `directory`.
        architectures: Networks that a recipe can name. Those of another table than
            `ARCHITECTURES` are all made in this process.
        resources: Cache and processes.

    Returns:
        What bundle.json says.

    Raises:
        ExportError: Any of its kinds; the message says what to do.
    """
    progress("reading the recipe", 0.0)
    recipe = recipe_from_toml(recipe_path)
    progress("reading the checkpoints", 0.0)
    plan = export_plan(recipe, architectures)
    check_files(plan.opened, len(plan.bundle.classes))
    with staged(directory, replace=replace) as folder:
        work = _Export(
            plan=plan,
            folder=folder,
            progress=_Progress(tell=progress),
            cache=resources.cache,
        )
        # What is done with is let go of there, and must not be held here.
        del plan
        work.golden()
        can_travel = architectures is ARCHITECTURES
        work.networks(beside=resources.workers > 1 and can_travel)
        work.provenance()
        progress("writing bundle.json", sum(_SHARES.values()))
        write_index(work.plan.bundle, folder)
    progress("done", 1.0)
    return work.plan.bundle
