"""What most tests of the engine run on."""

import pytest
from support.engines import GatedBackend, ManualClock, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def backend():
    return GatedBackend()


@pytest.fixture
def clock():
    return ManualClock()
