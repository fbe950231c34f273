import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.runtime.errors import Reason
from spinert.runtime.server.ledger import StreamLedger


def ledger_of(max_in_flight=4, *, in_order=True):
    return StreamLedger(in_order=in_order, max_in_flight=max_in_flight)


def taken(ledger, frame_id="", sequence=0):
    ticket = ledger.take(frame_id, sequence)
    return ticket, ledger.objection(ticket)


def finished(ledger, ticket):
    """Settle and send; return the credits granted."""
    return sum(sent(ledger, t) for t, _ in ledger.settle(ticket, "done"))


def sent(ledger, ticket):
    ledger.sending(ticket, "done")
    return ledger.sent(ticket)


def test_a_frame_beyond_the_credit_is_refused():
    ledger = ledger_of(2)
    objections = [taken(ledger, str(i))[1] for i in range(3)]
    assert objections[:2] == [None, None]
    assert objections[2].reason is Reason.CREDIT_EXCEEDED
    assert objections[2].retry_after_ms == 0


def test_a_refused_frame_without_credit_gives_no_credit_back():
    ledger = ledger_of(1)
    first, _ = taken(ledger, "a")
    excess, objection = taken(ledger, "b")
    assert objection is not None
    assert ledger.settle(excess, "refused") == []
    assert finished(ledger, first) == 1


def test_credit_comes_back_when_the_reply_is_sent_and_not_before():
    ledger = ledger_of(1, in_order=False)
    first, _ = taken(ledger, "a")
    ledger.settle(first, "done")
    assert taken(ledger, "b")[1].reason is Reason.CREDIT_EXCEEDED
    assert ledger.sent(first) == 1
    assert taken(ledger, "b")[1] is None


def test_replies_keep_the_order_of_the_frames():
    ledger = ledger_of()
    a, b, c = (ledger.take(x, 0) for x in "abc")
    assert ledger.settle(c, "C") == []
    assert ledger.settle(a, "A") == [(a, "A")]
    assert ledger.settle(b, "B") == [(b, "B"), (c, "C")]


def test_as_completed_replies_do_not_wait():
    ledger = ledger_of(in_order=False)
    _, b = (ledger.take(x, 0) for x in "ab")
    assert ledger.settle(b, "B") == [(b, "B")]


@pytest.mark.parametrize("resumable", [False, True])
def test_an_id_is_free_from_the_moment_that_the_client_may_hold_the_answer(resumable):
    ledger = StreamLedger(in_order=True, max_in_flight=4, resumable=resumable)
    first, _ = taken(ledger, "a", 1)
    second, _ = taken(ledger, "b", 2)
    assert ledger.settle(second, "B") == []
    assert taken(ledger, "b", 3)[1].reason is Reason.DUPLICATE_FRAME_ID
    ledger.settle(first, "A")
    ledger.sending(first, "A")
    again, objection = taken(ledger, "a", 4)
    assert objection is None
    ledger.sent(first)
    assert ledger.find("a") is again


def test_an_id_in_flight_is_a_duplicate_until_its_reply_is_sent():
    ledger = ledger_of()
    first, _ = taken(ledger, "a")
    twin, objection = taken(ledger, "a")
    assert objection.reason is Reason.DUPLICATE_FRAME_ID
    assert ledger.find("a") is first
    finished(ledger, first)
    finished(ledger, twin)
    assert taken(ledger, "a")[1] is None


def test_the_reply_to_a_duplicate_does_not_free_the_id():
    ledger = ledger_of(in_order=False)
    first, _ = taken(ledger, "a")
    twin, _ = taken(ledger, "a")
    finished(ledger, twin)
    assert ledger.find("a") is first


def test_frames_without_an_id_are_never_duplicates():
    ledger = ledger_of()
    assert [taken(ledger)[1] for _ in range(3)] == [None] * 3
    assert ledger.find("") is None


def test_sequence_numbers_must_increase():
    ledger = ledger_of(8)
    found = [taken(ledger, sequence=s)[1] for s in (1, 5, 0, 5, 4, 6)]
    reasons = [error and error.reason for error in found]
    broken = Reason.SEQUENCE_NOT_INCREASING
    assert reasons == [None, None, None, broken, broken, None]


def test_a_refused_frame_may_be_sent_again_with_its_number():
    ledger = ledger_of(1)
    first, _ = taken(ledger, "a", 1)
    excess, objection = taken(ledger, "b", 2)
    assert objection is not None
    ledger.settle(excess, "refused")
    finished(ledger, first)
    assert taken(ledger, "b", 2)[1] is None


def test_a_notice_takes_no_credit():
    ledger = ledger_of(1)
    notice = ledger.take_notice()
    assert ledger.unsent == 1
    assert taken(ledger, "a")[1] is None
    assert ledger.settle(notice, "N") == [(notice, "N")]


def test_credit_is_granted_in_groups_while_frames_are_in_flight():
    ledger = ledger_of(8, in_order=False)
    tickets = [ledger.take("", 0) for _ in range(8)]
    granted = [finished(ledger, ticket) for ticket in tickets]
    assert granted == [0, 2, 0, 2, 0, 2, 0, 2]


@given(st.integers(1, 9), st.booleans(), st.lists(st.integers(0, 99), max_size=60))
def test_credit_is_conserved_and_everything_is_answered_once(limit, in_order, moves):
    ledger = ledger_of(limit, in_order=in_order)
    credit, waiting, answered, number = limit, [], [], 0
    for move in moves:
        if credit and move % 2:
            ticket, objection = taken(ledger, str(number), number + 1)
            assert objection is None
            waiting.append(ticket)
            credit -= 1
            number += 1
        elif waiting:
            chosen = waiting.pop(move % len(waiting))
            for ticket, _ in ledger.settle(chosen, "done"):
                answered.append(ticket.number)
                credit += ledger.sent(ticket)
        assert credit + ledger.unsent <= limit
    for ticket in waiting:
        for released, _ in ledger.settle(ticket, "done"):
            answered.append(released.number)
            credit += ledger.sent(released)
    assert sorted(answered) == list(range(number))
    assert not in_order or answered == sorted(answered)
    assert (ledger.unsent, credit) == (0, limit)
