"""Every family on the GPU, in every slot of every batch, against the FP32 answers."""

from __future__ import annotations

import pytest
from support.family_bundles import DETECTORS, MAX_BATCH

from spinert.runtime.gate.running import run_gate

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_family_passes_the_gate_in_every_slot(
    detector, precision, backend_name, family_bundle, open_backend
):
    bundle = family_bundle(detector, backend_name)
    backend = open_backend(bundle, precision=precision)
    sizes = range(1, MAX_BATCH + 1)
    report = run_gate(bundle, backend, sizes, lambda *_: None)
    assert not report.failure, report.failure
    proven = {gate.network: gate.batch_sizes for gate in report.networks}
    assert proven.keys() == {"classifier", "detector"}
    assert all(set(sizes) <= set(done) for done in proven.values())
