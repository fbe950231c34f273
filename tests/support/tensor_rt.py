"""Networks on the fake device, ready to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spinert.runtime.compiled.profiles import (
    LargestImage,
    Profile,
    profiles_from_network,
)
from spinert.runtime.tensor_rt.engine import engine_from_plan
from spinert.runtime.tensor_rt.runner import Runner
from support.bundles import tiny_spec
from support.fake_device import FakeDevice
from support.fake_engines import (
    FakeApi,
    FakeEngine,
    FakeNetwork,
    classifier_network,
    detector_network,
    fake_flavour,
)

SPEC = tiny_spec()
MAX_BATCH = 4


def profiles_of(role: str, max_batch: int = MAX_BATCH) -> tuple[Profile, ...]:
    return profiles_from_network(
        SPEC.networks[role],
        max_batch=max_batch,
        separate_single_frames=True,
        largest=LargestImage(),
    )


def networks() -> dict[str, FakeNetwork]:
    return {
        "classifier": classifier_network(profiles_of("classifier")),
        "detector": detector_network(profiles_of("detector")),
    }


@dataclass
class Bench:
    """A runner over fakes."""

    device: FakeDevice
    engine: FakeEngine
    runner: Runner
    network: FakeNetwork
    seed: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def batch(self, size: int, height: int = 32, width: int = 32) -> dict[str, Any]:
        """Return random inputs; the classifier's come in 32 x 32 only."""
        shape = (size, 1, height, width)
        inputs = {"image": self.seed.integers(0, 256, shape, dtype=np.uint8)}
        if "image_size" in self.network.inputs:
            sizes = np.tile(np.array([height, width], np.int32), (size, 1))
            inputs["image_size"] = sizes - self.seed.integers(0, 9, sizes.shape, "i4")
        return inputs

    def expected(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict(self.network.compute(inputs))

    def check(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run a batch and compare it with what the network is."""
        outputs = self.runner.run(inputs)
        expected = self.expected(inputs)
        assert outputs.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(outputs[name], array)
            assert outputs[name].dtype == array.dtype
        return outputs


@contextmanager
def opened(
    role: str = "classifier",
    device: FakeDevice | None = None,
    *,
    directory: Path = Path("/nonexistent"),
    product: str = "tensorrt",
    max_graphs: int = 8,
    network: FakeNetwork | None = None,
) -> Iterator[Bench]:
    device = device or FakeDevice()
    network = network or networks()[role]
    api = FakeApi(device, {role: network})
    with device.current():
        engine = engine_from_plan(
            fake_flavour(api, product), role, role.encode(), directory
        )
        runner = Runner(device, engine, max_graphs)
    yield Bench(device, api.engines[0], runner, network)
    if not device.guard.is_lost:
        with device.current():
            runner.close()
        assert not device.leaks
        assert engine.engine is None, "the weights are still on the device"
