"""Where frames are recomputed: beside the lanes, so that no other frame waits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.outputs import FrameOutput
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason
from spinert.runtime.recompute.split import Recomputation, recomputation_from_bundle

__all__ = ["RecomputePool", "Recomputed"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recomputed:
    """The answer of a network's split graphs to one frame."""

    output: FrameOutput
    backend: str
    """What computed it, as in answers."""
    precision: str


class RecomputePool:
    """One thread for the networks of a bundle that can be recomputed.

    One, because it shares the cores with everything else and is rarely needed.
    """

    def __init__(self, bundle: LoadedBundle, threads: int) -> None:
        """Load nothing yet; a graph may use `threads`, 0 for all cores."""
        found = (
            (role, recomputation_from_bundle(bundle, role, threads))
            for role in bundle.spec.networks
        )
        self._networks: Mapping[str, Recomputation] = {
            role: network for role, network in found if network is not None
        }
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="spinert-recompute")

    def can(self, role: str) -> bool:
        """Tell whether network `role` has split graphs."""
        return role in self._networks

    def submit(self, role: str, tensor: NetworkTensor) -> Future[Recomputed]:
        """Compute a frame when its turn comes; a future that waits may be cancelled.

        The future raises BackendError.
        """
        return self._executor.submit(self._run, role, tensor)

    def close(self) -> None:
        """Drop what waits, and wait for what runs. Calling twice is harmless."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, role: str, tensor: NetworkTensor) -> Recomputed:
        network = self._networks[role]
        try:
            output = network.run(tensor)
        except BackendUnavailable as error:
            logger.error("network %s cannot be recomputed: %s", role, error.message)
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {role!r} did not converge on this frame and cannot be "
                "recomputed; run `spinert verify` on the bundle",
            ) from error
        return Recomputed(
            output=output, backend=network.backend, precision=network.precision
        )
