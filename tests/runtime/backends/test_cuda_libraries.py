"""What is read of NVIDIA's libraries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spinert.runtime.backends import cuda_libraries
from spinert.runtime.backends.cuda_libraries import cudnn_version


class Version:
    """A function of a C library."""

    restype: object = None

    def __call__(self) -> int:
        return 91002


def test_the_version_of_cudnn_is_told(monkeypatch) -> None:
    library = SimpleNamespace(cudnnGetVersion=Version())
    monkeypatch.setattr(cuda_libraries.ctypes, "CDLL", lambda name: library)
    assert cudnn_version() == "cuDNN 91002"


@pytest.mark.parametrize("fault", [OSError("not there"), AttributeError("other")])
def test_without_cudnn_there_is_nothing_to_tell(fault, monkeypatch) -> None:
    def missing(name: str) -> None:
        raise fault

    monkeypatch.setattr(cuda_libraries.ctypes, "CDLL", missing)
    assert not cudnn_version()
