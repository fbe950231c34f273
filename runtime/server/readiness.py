"""What has to be proven before the first frame is answered."""

from __future__ import annotations

import logging

from spinert.runtime.backends import Backend
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import GoldenSettings
from spinert.runtime.golden import Progress, run_golden_frame, run_golden_set
from spinert.runtime.passes import has_pass, key_of_pass, store_pass
from spinert.runtime.server.logs import event

__all__ = ["prove"]

_LOG = logging.getLogger(__name__)


def prove(
    bundle: LoadedBundle,
    backend: Backend,
    settings: GoldenSettings,
    *,
    runtime_version: str,
    progress: Progress,
) -> None:
    """Run the golden set, or one frame of it where this machine has passed before.

    A pass counts for exactly this bundle, backend, number of threads, runtime
    version and processor.

    Raises:
        BundleError: GOLDEN_SET_FAILED; the bundle must not be served here.
    """
    key = key_of_pass(bundle, backend.capabilities, runtime_version)
    directory = settings.directory()
    if directory is None:
        event(_LOG, logging.WARNING, "pass_not_stored", advice="set golden.state_dir")
    sizes = tuple(bundle.spec.golden.batch_sizes)
    if directory is not None and has_pass(directory, key, sizes):
        run_golden_frame(bundle, backend)
        event(_LOG, logging.INFO, "golden_frame_passed")
        return
    event(_LOG, logging.INFO, "golden_set_started", reason="no stored pass")
    report = run_golden_set(bundle, backend, sizes, progress)
    if directory is not None:
        store_pass(directory, key, report)
    event(_LOG, logging.INFO, "golden_set_passed", frames=report.frames)
