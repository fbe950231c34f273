"""The protocol over an engine: the one place that knows bundle and settings."""

from __future__ import annotations

from collections.abc import Callable

from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import Settings
from spinert.runtime.kserve.calls import KserveEngine
from spinert.runtime.kserve.inference import Inference
from spinert.runtime.kserve.models import models_from_bundle
from spinert.runtime.kserve.repository import Repository
from spinert.runtime.replies import Identity

__all__ = ["inference_from_engine", "repository_from_bundle"]


def repository_from_bundle(bundle: LoadedBundle, settings: Settings) -> Repository:
    """Describe the models of `bundle`."""
    return Repository(
        models_from_bundle(bundle, settings.engine),
        is_controlled=settings.kserve.model_control,
    )


def inference_from_engine(
    engine: KserveEngine,
    bundle: LoadedBundle,
    settings: Settings,
    identity: Callable[[], Identity],
    clock: Callable[[], float],
) -> Inference:
    """Let `engine`, which serves `bundle`, answer requests.

    Args:
        engine: What runs.
        bundle: What it serves.
        settings: Of the server.
        identity: What answers say of their origin at the moment.
        clock: The engine's own; monotonic, in seconds.
    """
    return Inference(
        engine,
        identity,
        clock,
        bundle.spec.networks,
        settings.decode.max_edge_px,
    )
