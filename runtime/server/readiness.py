"""What has to be proven before the first frame is answered."""

from __future__ import annotations

import logging

from spinert.runtime.backends import Backend, Progress
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import Settings
from spinert.runtime.errors import Reason, SetupError
from spinert.runtime.gate.certificate import Certificates
from spinert.runtime.gate.running import run_gate, run_golden_frame
from spinert.runtime.server.logs import event

__all__ = ["prove"]

_LOG = logging.getLogger(__name__)


def prove(
    bundle: LoadedBundle, backend: Backend, settings: Settings, progress: Progress
) -> None:
    """Run the gate, or one golden frame where this machine has a certificate.

    A certificate counts for exactly this bundle, backend, precision, engine, number
    of threads, runtime version and processor, and for every batch size up to
    engine.max_batch.

    Raises:
        BundleError: GOLDEN_SET_FAILED; the bundle must not be served here.
        SetupError: There is no certificate, and the settings require one.
    """
    sizes = range(1, settings.engine.max_batch + 1)
    certificates = Certificates(bundle, backend, settings.golden.directory())
    if not certificates.can_be_stored:
        event(_LOG, logging.WARNING, "no_certificates", advice="set golden.state_dir")
    if certificates.cover(sizes):
        run_golden_frame(bundle, backend).require_passed()
        event(_LOG, logging.INFO, "golden_frame_passed")
        return
    if settings.golden.require_certificate:
        raise SetupError(
            Reason.CERTIFICATE_MISSING,
            "this machine has no certificate for this bundle and these settings; run "
            "`spinert verify` with the same --config, or do not require one",
        )
    event(_LOG, logging.INFO, "gate_started", max_batch=settings.engine.max_batch)
    report = run_gate(bundle, backend, sizes, progress)
    report.require_passed()
    certificates.store(report)
    event(_LOG, logging.INFO, "gate_passed", frames=report.frames)
