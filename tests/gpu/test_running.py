"""Backends on a real GPU: graphs, memory, threads."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.family_bundles import DETECTORS

from spinert.runtime.backends.profiled import ProfiledBackend
from spinert.runtime.backends.tensorrt import TensorRtBackend
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.gate.golden_set import golden_cases

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
DETECTOR = "sparse_rcnn_r50_fpn"
ITERATIONS = 10_000
GROWTH_MIB = 16
"""What the driver itself may take: it allots memory in pieces of 2 MiB and more."""


@pytest.fixture
def bundle(family_bundle, backend_name):
    return family_bundle(DETECTOR, backend_name)


def inputs_of(bundle, role, size):
    """Return a batch of golden frames of one size."""
    network = bundle.spec.networks[role]
    tensors = [
        case.tensor for case in golden_cases(bundle, bundle.spec.golden.frames)[role]
    ]
    same = [tensor for tensor in tensors if tensor.size == tensors[0].size]
    chosen = list(itertools.islice(itertools.cycle(same), size))
    return batch_inputs(network.input, chosen)


def same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("detector", DETECTORS)
def test_cuda_graphs_change_no_bit(detector, family_bundle, backend_name, open_backend):
    bundle = family_bundle(detector, backend_name)
    plain = open_backend(bundle, cuda_graphs=False)
    graphs = open_backend(bundle, cuda_graphs=True)
    if not isinstance(graphs, TensorRtBackend):
        pytest.skip(f"{backend_name} has no CUDA graphs")
    for role, size in itertools.product(bundle.spec.networks, (1, 2, 5, 8)):
        inputs = inputs_of(bundle, role, size)
        expected = plain.run(role, inputs)
        # The third run in a slot is the first that is launched as a graph.
        for _ in range(4):
            same(expected, graphs.run(role, inputs))


@pytest.mark.timeout(3600)
def test_ten_thousand_batches_take_no_more_memory(bundle, open_backend, used_mib):
    backend = open_backend(bundle)
    batches = [
        (role, inputs_of(bundle, role, size))
        for role in bundle.spec.networks
        for size in (1, 2, 3, 8)
    ]
    for role, inputs in batches * 4:
        backend.run(role, inputs)
    before = used_mib()
    for role, inputs in itertools.islice(itertools.cycle(batches), ITERATIONS):
        backend.run(role, inputs)
    assert used_mib() <= before + GROWTH_MIB


@pytest.mark.timeout(3600)
def test_opening_and_closing_takes_no_memory(bundle, open_backend, used_mib):
    open_backend(bundle).close()
    before = used_mib()
    for _ in range(5):
        backend = open_backend(bundle)
        backend.run("classifier", inputs_of(bundle, "classifier", 2))
        backend.close()
    assert used_mib() <= before + GROWTH_MIB


@pytest.mark.timeout(3600)
def test_threads_get_the_answers_of_their_own_batches(bundle, open_backend):
    backend = open_backend(bundle)
    threads = backend.capabilities.concurrent_batches
    pools, answers = [], []
    for role in bundle.spec.networks:
        inputs = [inputs_of(bundle, role, size) for size in (1, 2, 3)]
        alone = [backend.run(role, batch) for batch in inputs]
        pools.append(ThreadPoolExecutor(threads))
        answers += [
            (alone[i % 3], pools[-1].submit(backend.run, role, inputs[i % 3]))
            for i in range(200)
        ]
    for expected, answer in answers:
        same(expected, answer.result())
    for pool in pools:
        pool.shutdown()


@pytest.mark.timeout(3600)
def test_layers_are_timed_beside_what_serves(bundle, open_backend):
    backend = open_backend(bundle)
    if not isinstance(backend, ProfiledBackend):
        pytest.skip(f"{backend.capabilities.name} does not time layers")
    for role in bundle.spec.networks:
        inputs = inputs_of(bundle, role, 2)
        expected = backend.run(role, inputs)
        times = backend.layer_times(role, inputs, 5)
        assert sum(layer.duration_ms for layer in times) > 0
        assert all(layer.name and layer.count >= 1 for layer in times)
        for _ in range(4):
            same(expected, backend.run(role, inputs))
