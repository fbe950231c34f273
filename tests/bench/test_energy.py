"""Energy, where a driver counts it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from spinert.bench.energy import energy_meter, gpu_names


class Driver(ModuleType):
    """Two GPUs that have drawn `joules` so far, 300 J a look."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, works: bool = True, counts: bool = True) -> None:
        super().__init__("pynvml")
        self.works, self.counts = works, counts
        self.joules = {0: 1000.0, 1: 5000.0}
        self.opened = 0

    def nvmlInit(self):
        if not self.works:
            raise self.NVMLError("driver not loaded")
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return f"GPU {handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.counts:
            raise self.NVMLError("not supported")
        self.joules[handle] += 300
        return 1000 * self.joules[handle]


@pytest.fixture
def driver(monkeypatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_the_energy_of_all_gpus_is_told_by_the_frame(driver):
    with energy_meter() as meter:
        pass
    told = meter.told(frames=100)
    assert told["joules_per_frame"] == pytest.approx(6.0)
    assert told["mean_watts"] == pytest.approx(600 / meter.seconds)
    assert gpu_names() == ["GPU 0", "GPU 1"]
    assert driver.opened == 0


def test_of_no_frame_there_is_no_energy(driver):
    with energy_meter() as meter:
        pass
    assert meter.told(frames=0) is None


@pytest.mark.parametrize("state", [{"works": False}, {"counts": False}])
def test_a_driver_that_cannot_tell_is_no_error(monkeypatch, state):
    monkeypatch.setitem(sys.modules, "pynvml", Driver(**state))
    with energy_meter() as meter:
        pass
    assert meter.told(frames=1) is None


def test_without_the_library_there_are_no_gpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with energy_meter() as meter:
        pass
    assert meter.told(frames=1) is None
    assert gpu_names() == []
