"""Real engines of tiny networks, for tests that run where TensorRT-RTX is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.compiled.flavour import Flavour, load_flavour
from spinert.runtime.compiled.key import EngineKey, Target
from spinert.runtime.compiled.obtaining import CompileOptions, Source, key_for
from spinert.runtime.compiled.profiles import Profile, ShapeRange
from spinert.runtime.compiled.storing import BuildRecord
from support import graphs
from support.bundles import tiny_spec

SM86 = Target(sm="86")
ENGINE_KEY = EngineKey(
    role="classifier",
    onnx_sha256="a" * 64,
    flavour="tensorrt",
    flavour_version="11.4.0.106",
    target=Target(sm="86", gpu="NVIDIA RTX A2000", driver="13.0 (580.65.06)"),
    profiles=(
        Profile(
            image=ShapeRange(
                minimum=(1, 1, 32, 32), optimum=(4, 1, 32, 32), maximum=(4, 1, 32, 32)
            )
        ),
    ),
    precision="fp16",
    optimization_level=3,
    stripped=False,
)
RECORD = BuildRecord(
    created_at="2026-01-02T03:04:05+00:00",
    spinert_version="0.2.0",
    seconds=1.5,
    peak_rss_bytes=2**30,
)


def rtx_flavour() -> Flavour:
    """Return TensorRT-RTX, or skip the test that asks."""
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx"
    )
    return load_flavour("tensorrt-rtx")


def classifier_source(folder: Path, content: bytes | None = None) -> Source:
    """Return the tiny classifier, or other content under its name."""
    return _source(folder, "classifier", content or _serialized("classifier"))


def detector_source(folder: Path, content: bytes | None = None) -> Source:
    return _source(folder, "detector", content or _serialized("detector"))


def key_of(source: Source, flavour: Flavour, max_batch: int = 4) -> EngineKey:
    return key_for(source, flavour, SM86, CompileOptions(max_batch=max_batch))


def _serialized(role: str) -> bytes:
    models = {"classifier": graphs.classifier, "detector": graphs.detector}
    content: bytes = models[role]().SerializeToString()
    return content


def _source(folder: Path, role: str, content: bytes) -> Source:
    onnx = folder / f"{role}.onnx"
    onnx.write_bytes(content)
    network: pb.Network = tiny_spec().networks[role]
    return Source(role=role, onnx=onnx, precision="fp32", network=network)
