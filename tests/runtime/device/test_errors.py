from __future__ import annotations

import logging

import pytest

from spinert.runtime.device.errors import (
    CODES_BY_TEXT,
    OUT_OF_MEMORY,
    STICKY,
    CudaFailure,
    error_from_failure,
)
from spinert.runtime.device.guard import Guard
from spinert.runtime.errors import BackendError, DeviceLost, Reason, Unavailable

# cuda.h, CUDA 13: the codes whose text says that the process has to be relaunched.
ENDS_THE_PROCESS = {214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721}
LEAVES_THE_CONTEXT = {1, 2, 400, 600, 701, 703, 720, 801, 900, 901}


def failure(code, text="words"):
    return CudaFailure(call="cuLaunchKernel", code=code, text=text)


@pytest.mark.parametrize("code", sorted(ENDS_THE_PROCESS))
def test_an_error_that_ends_the_context_loses_the_device(code):
    error = error_from_failure(failure(code))
    assert isinstance(error, DeviceLost)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.DEVICE_LOST
    assert STICKY[code] in error.message


@pytest.mark.parametrize("code", sorted(LEAVES_THE_CONTEXT))
def test_an_error_that_leaves_the_context_is_the_batchs_own(code):
    error = error_from_failure(failure(code))
    assert isinstance(error, BackendError)
    wanted = Reason.DEVICE_OUT_OF_MEMORY if code == OUT_OF_MEMORY else None
    assert error.reason is (wanted or Reason.NETWORK_FAILED)


def test_the_drivers_words_are_logged_and_not_sent(caplog):
    with caplog.at_level(logging.ERROR):
        error = error_from_failure(failure(1, "secret words"))
    assert "secret words" in caplog.text
    assert "secret words" not in error.message
    assert "cuLaunchKernel" in error.message


def test_every_sticky_code_with_a_known_text_is_found_by_it():
    assert set(CODES_BY_TEXT.values()) >= ENDS_THE_PROCESS - {721}


# -------------------------------------------------------------------------- guard


class CallFailed(Exception):
    pass


def guard(code, is_alive=True):
    return Guard(
        lambda error: failure(code) if isinstance(error, CallFailed) else None,
        lambda: is_alive,
    )


def fails():
    raise CallFailed


def test_a_call_returns_what_the_function_returns():
    assert guard(1).call(lambda a, b: a - b, 5, b=3) == 2


def test_nothing_reaches_a_dead_device():
    guarded = guard(700)
    with pytest.raises(DeviceLost):
        guarded.call(fails)
    reached = []
    with pytest.raises(DeviceLost, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        guarded.call(reached.append, 1)
    guarded.release(lambda: reached.append(2))
    with pytest.raises(DeviceLost):
        guarded.require_alive()
    assert (reached, guarded.is_lost) == ([], True)


@pytest.mark.parametrize("code", [1, 2])
def test_a_device_that_lives_goes_on(code):
    guarded = guard(code)
    with pytest.raises(BackendError):
        guarded.call(fails)
    assert guarded.call(lambda: 3) == 3


def test_after_an_unknown_error_the_context_is_asked():
    alive, dead = guard(999, is_alive=True), guard(999, is_alive=False)
    with pytest.raises(BackendError):
        alive.call(fails)
    with pytest.raises(DeviceLost):
        dead.call(fails)
    assert (alive.is_lost, dead.is_lost) == (False, True)


def test_a_failed_release_is_remembered_and_does_not_raise():
    guarded = guard(719)
    guarded.release(fails)
    assert guarded.is_lost


def test_an_exception_that_is_not_cudas_passes():
    def breaks():
        raise ZeroDivisionError

    for way in (guard(1).call, guard(1).release):
        with pytest.raises(ZeroDivisionError):
            way(breaks)
