"""One tiny bundle for all tests of this protocol."""

import pytest
from support.engines import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))
