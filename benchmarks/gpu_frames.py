"""Whole frames in the GPU benchmark: from stored values in host memory to verdicts.

Ours is the engine of a server with its queues, checks and threads, given all frames at
once. PyTorch is what one would write around its networks: frames prepared by a pool
of threads with our own code, one batch for each network, our own decision after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from gpu_sides import Side

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, Backend
from spinert.runtime.bundle import CLASSIFIER, DETECTOR, LoadedBundle
from spinert.runtime.config import EngineSettings, Settings
from spinert.runtime.decide.candidates import Candidates
from spinert.runtime.decide.verdict_from import Evidence, verdict_from_evidence
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.prepare import Prepared, prepared_from_image
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.frame import FrameRequest, RawFrame
from spinert.runtime.gate.golden_set import GoldenCase, golden_image
from spinert.runtime.image import Image
from spinert.runtime.verdict import Output, Verdict

OUTPUTS = frozenset({Output.CLASSIFICATION, Output.FINDINGS})


@dataclass(frozen=True, kw_only=True)
class GoldenFrames:
    """Golden images of one size in all networks, and their FP32 verdicts."""

    images: tuple[Image, ...]
    verdicts: tuple[Verdict, ...]


class EngineFrames:
    """The engine, given all frames at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, images: Sequence[Image]) -> list[Verdict]:
        waiting = [self._engine.submit(request_from_image(image)) for image in images]
        return [future.result().verdict for future in waiting]


class PyTorchFrames:
    """The networks of another side between our preparation and our decision."""

    def __init__(
        self, bundle: LoadedBundle, networks: Side, pool: ThreadPoolExecutor
    ) -> None:
        self._spec = bundle.spec
        self._roles = sorted(bundle.spec.networks)
        self._networks = networks
        self._pool = pool

    def run(self, images: Sequence[Image]) -> list[Verdict]:
        prepared = list(self._pool.map(self._prepared, images))
        batch = {
            role: batch_inputs(
                self._spec.networks[role].input, [one.inputs[role] for one in prepared]
            )
            for role in self._roles
        }
        found = self._networks.run(batch)
        return [
            verdict_from_answers(_slot(found, slot), one, self._spec)
            for slot, one in enumerate(prepared)
        ]

    def _prepared(self, image: Image) -> Prepared:
        return prepared_from_image(image, self._spec, self._roles)


def verdict_from_answers(
    answers: Mapping[str, Arrays], prepared: Prepared, spec: pb.Bundle
) -> Verdict:
    """Decide on one frame from what its networks answered."""
    place = prepared.inputs[DETECTOR].placement
    found = answers[DETECTOR]
    evidence = Evidence(
        rows=prepared.rows,
        columns=prepared.columns,
        spacing=prepared.spacing,
        notes=prepared.notes,
        logits=answers[CLASSIFIER]["logits"].tolist(),
        candidates=Candidates(
            boxes=found["boxes"].astype(np.float32),
            scores=found["scores"].astype(np.float32),
            labels=found["labels"],
        ),
        rows_per_pixel=place.rows_per_pixel,
        columns_per_pixel=place.columns_per_pixel,
    )
    return verdict_from_evidence(evidence, spec, OUTPUTS)


def golden_frames(
    bundle: LoadedBundle, cases: Mapping[str, Sequence[GoldenCase]]
) -> GoldenFrames:
    """Return the golden frames that share a batch with the first of them."""
    stored = {role: {case.frame: case for case in cases[role]} for role in cases}
    images, verdicts, sizes = [], [], None
    for frame in bundle.spec.golden.frames:
        found = {role: stored[role][frame.name] for role in stored}
        padded = {role: case.tensor.size for role, case in found.items()}
        sizes = sizes or padded
        if padded != sizes:
            continue
        image = golden_image(bundle, frame)
        answers = {role: case.reference for role, case in found.items()}
        prepared = prepared_from_image(image, bundle.spec, sorted(found))
        images.append(image)
        verdicts.append(verdict_from_answers(answers, prepared, bundle.spec))
    return GoldenFrames(images=tuple(images), verdicts=tuple(verdicts))


def verdict_gaps(
    expected: Sequence[Verdict], found: Sequence[Verdict]
) -> dict[str, float]:
    """Return how far verdicts are apart."""
    pairs = zip(expected, found, strict=True)
    gaps = [abs(a.abnormal_probability - b.abnormal_probability) for a, b in pairs]
    return {"verdict.abnormal_probability": round(max(gaps), 6)}


def request_from_image(image: Image) -> FrameRequest:
    """Return an image of unsigned values as a device would send it."""
    dtype = "u1" if image.bits_stored <= 8 else "<u2"
    rows, columns = image.pixels.shape
    content = RawFrame(
        rows=rows,
        columns=columns,
        bits_stored=image.bits_stored,
        is_signed=False,
        photometric=image.photometric,
        data=image.pixels.astype(dtype).tobytes(),
    )
    return FrameRequest(content=content, arrived_s=time.monotonic(), outputs=OUTPUTS)


@contextmanager
def opened_engine(
    bundle: LoadedBundle, backend: Backend, max_batch: int
) -> Iterator[Engine]:
    """Yield an engine over `backend`, warmed up, that takes two largest batches."""
    room = 2 * max_batch
    limits = EngineSettings(
        max_batch=max_batch, max_frames=room, max_frames_per_device=room
    )
    settings = Settings(engine=limits)
    with (
        DecodePool(settings.decode) as pool,
        Engine(bundle, BackendSwitch(backend), pool, settings) as engine,
    ):
        pool.wait_ready()
        engine.warm_up()
        yield engine


def _slot(found: Mapping[str, Arrays], slot: int) -> dict[str, Arrays]:
    return {
        role: {name: array[slot] for name, array in outputs.items()}
        for role, outputs in found.items()
    }
