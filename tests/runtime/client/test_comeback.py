import grpc
import pytest

from spinert.runtime.client.comeback import Comeback, may_pass
from spinert.runtime.client.errors import RequestFailed
from spinert.runtime.errors import Reason


def opened(window_s=30.0):
    comeback = Comeback()
    comeback.opened(90.0, window_s)
    return comeback


def test_before_the_first_connection_there_is_nothing_to_come_back_to():
    comeback = Comeback()
    comeback.broke(100.0)
    assert comeback.left_s(100.0) == 0


def test_the_window_counts_from_the_first_failure():
    comeback = opened()
    comeback.broke(100.0)
    comeback.broke(120.0)
    assert comeback.left_s(125.0) == 5
    assert comeback.left_s(131.0) == 0


def test_progress_opens_the_window_anew():
    comeback = opened()
    comeback.broke(100.0)
    comeback.opened(129.0, 30.0)
    comeback.progressed()
    comeback.broke(129.1)
    assert comeback.left_s(129.1) == 30
    assert comeback.next_delay_s(129.1) <= 0.05


@pytest.mark.parametrize(("window_s", "lasted_s"), [(30.0, 5.0), (2.0, 2.0)])
def test_a_connection_that_lasted_opens_the_window_anew(window_s, lasted_s):
    comeback = opened(window_s)
    comeback.broke(100.0)
    comeback.opened(101.0, window_s)
    comeback.broke(101.0 + lasted_s)
    assert comeback.left_s(101.0 + lasted_s) == window_s


def test_a_server_that_opens_and_at_once_breaks_is_given_up_after_the_window():
    comeback, now_s, tries = opened(), 100.0, 0
    comeback.broke(now_s)
    while comeback.left_s(now_s) and tries < 1000:
        now_s += comeback.next_delay_s(now_s)
        tries += 1
        comeback.opened(now_s, 30.0)
        now_s += 0.01
        comeback.broke(now_s)
    assert now_s == pytest.approx(130.0, abs=0.1)
    assert 30 <= tries <= 70


def test_a_time_without_connection_is_not_one_that_lasted():
    comeback = opened()
    comeback.broke(91.0)
    comeback.broke(111.0)
    assert comeback.left_s(111.0) == 10


def test_tries_become_rarer_and_never_come_after_the_window():
    comeback = opened()
    comeback.broke(100.0)
    delays = [comeback.next_delay_s(100.0) for _ in range(8)]
    assert 0.025 <= delays[0] <= 0.05
    assert all(0.5 <= delay <= 1 for delay in delays[5:])
    assert comeback.next_delay_s(129.9) <= 0.1 + 1e-9


def test_a_server_that_asks_for_patience_gets_it():
    comeback = opened()
    comeback.broke(100.0)
    assert 2.025 <= comeback.next_delay_s(100.0, asked_s=2.0) <= 2.05
    assert comeback.next_delay_s(129.0, asked_s=2.0) == 1


def test_a_server_that_stays_away_for_an_hour_is_still_tried():
    comeback = Comeback()
    comeback.opened(-90.0, 7200.0)
    comeback.broke(0.0)
    delays = [comeback.next_delay_s(0.0) for _ in range(3000)]
    assert all(0.5 <= delay <= 1 for delay in delays[5:])


FAILURES = [
    ("", grpc.StatusCode.UNAVAILABLE, 0, True),
    ("", grpc.StatusCode.UNIMPLEMENTED, 0, False),
    (Reason.NOT_READY, grpc.StatusCode.UNAVAILABLE, 0, True),
    (Reason.RESUME_TOKEN_UNKNOWN, grpc.StatusCode.FAILED_PRECONDITION, 0, True),
    (Reason.SHUTTING_DOWN, grpc.StatusCode.UNAVAILABLE, 0, True),
    (Reason.RESUME_STREAMS_FULL, grpc.StatusCode.RESOURCE_EXHAUSTED, 1000, True),
    (Reason.RESUME_STREAMS_FULL, grpc.StatusCode.RESOURCE_EXHAUSTED, 0, False),
    (Reason.STREAM_TAKEN_OVER, grpc.StatusCode.FAILED_PRECONDITION, 0, False),
]


@pytest.mark.parametrize(("reason", "status", "retry_after_ms", "passes"), FAILURES)
def test_only_what_can_pass_is_tried_again(reason, status, retry_after_ms, passes):
    failure = RequestFailed(reason, "text", status, retry_after_ms)
    assert may_pass(failure) is passes
