"""What a resumable stream owes: a model-based test of the pure part."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.runtime.client.send_book import SendBook
from spinert.runtime.errors import Reason
from spinert.runtime.server.ledger import StreamLedger
from spinert.runtime.server.resume_book import ResumeBook


def answered(book, *numbers):
    for number in numbers:
        book.answer(number, f"A{number}")
    return book


def book_of(count):
    book = ResumeBook()
    for number in range(1, count + 1):
        book.take(number)
    return book


def test_answers_are_kept_until_acknowledged_and_come_in_order_of_the_frames():
    book = answered(book_of(4), 3, 1)
    assert list(book.unacknowledged().items()) == [(1, "A1"), (3, "A3")]
    assert book.acknowledge(1) == 1
    assert book.unacknowledged() == {3: "A3"}
    assert len(book) == 3


def test_acknowledging_frees_only_what_is_answered():
    book = answered(book_of(3), 2)
    assert book.acknowledge(3) == 1
    assert [n in book for n in (1, 2, 3)] == [True, False, True]
    answered(book, 1)
    assert (book.settle(1), len(book)) == (1, 1)


def test_what_is_acknowledged_twice_is_freed_once():
    book = answered(book_of(2), 1, 2)
    assert [book.acknowledge(n) for n in (1, 1, 2, 1)] == [1, 0, 1, 0]


def test_nobody_can_acknowledge_what_was_not_sent():
    book = book_of(1)
    book.acknowledge(2**63)
    book.take(2)
    answered(book, 1, 2)
    assert (book.settle(1), book.settle(2)) == (1, 0)
    assert book.unacknowledged() == {2: "A2"}


def test_numbers_must_increase_and_may_have_gaps():
    book = ResumeBook()
    book.take(5)
    book.take(9)
    assert book.received_sequence == 9
    with pytest.raises(ValueError, match="frame 9"):
        book.take(9)


def resumable(max_in_flight=4, **options):
    return StreamLedger(max_in_flight=max_in_flight, resumable=True, **options)


def sent(ledger, ticket):
    """Settle and send what may be; return the credits granted."""
    granted = 0
    for released, outcome in ledger.settle(ticket, "done"):
        ledger.sending(released, outcome)
        granted += ledger.sent(released)
    return granted


def accepted(ledger, frame_id, sequence):
    ticket = ledger.take(frame_id, sequence)
    assert ledger.objection(ticket) is None
    return ticket


def test_a_refusal_is_kept_like_any_answer_if_its_frame_counts_as_taken():
    ledger = resumable(in_order=True)
    first = accepted(ledger, "a", 1)
    twin = ledger.take("a", 2)
    assert ledger.objection(twin).reason is Reason.DUPLICATE_FRAME_ID
    sent(ledger, first)
    sent(ledger, twin)
    assert list(ledger.unacknowledged()) == [1, 2]
    assert ledger.received_sequence == 2


@pytest.mark.parametrize("sequence", [0, 1])
def test_a_frame_that_does_not_count_as_taken_is_not_kept(sequence):
    ledger = resumable(in_order=True)
    first = accepted(ledger, "a", 1)
    sent(ledger, first)
    ledger.acknowledge(1)
    assert ledger.grant() == 1
    ticket = ledger.take("b", sequence)
    assert ledger.objection(ticket).reason is Reason.SEQUENCE_NOT_INCREASING
    assert sent(ledger, ticket) == 1  # and its credit comes back at once
    assert (ledger.is_settled, ledger.received_sequence) == (True, 1)


def test_a_frame_without_credit_can_be_sent_again_with_its_number():
    ledger = resumable(1, in_order=True)
    first = accepted(ledger, "a", 1)
    excess = ledger.take("b", 2)
    assert ledger.objection(excess).reason is Reason.CREDIT_EXCEEDED
    sent(ledger, first)
    sent(ledger, excess)
    assert ledger.received_sequence == 1
    ledger.acknowledge(1)
    assert ledger.grant() == 1
    accepted(ledger, "b", 2)


def test_streams_that_are_not_resumable_keep_nothing():
    ledger = StreamLedger(in_order=True, max_in_flight=1)
    ticket = accepted(ledger, "a", 1)
    assert sent(ledger, ticket) == 1
    ledger.acknowledge(1)
    assert not ledger.unacknowledged()
    assert not ledger.repeats(1)
    assert ledger.is_settled


class Link:
    """A connection: what is under way on it is lost when it breaks."""

    def __init__(self):
        self.up, self.down = [], []


class Model:
    """Both sides of a resumable stream over a link that breaks at any point."""

    def __init__(self, seed, limit, in_order, frames):
        self.random = random.Random(seed)
        self.ledger = StreamLedger(
            in_order=in_order, max_in_flight=limit, resumable=True
        )
        self.book = SendBook()
        self.limit, self.frames = limit, frames
        self.computing, self.outbox = [], []
        self.computed, self.delivered = [], []
        self.credit, self.held = 0, []
        self.connect()

    def connect(self):
        self.link = Link()
        self.credit = 0
        self.link.down.append(("opened", self.ledger.received_sequence))
        self.link.down.append(("credit", self.ledger.regrant()))
        for number, message in self.ledger.unacknowledged().items():
            self.link.down.append(("answer", number, message))

    def step(self):
        moves = [self.client_sends, self.client_acknowledges, self.client_reads]
        moves += [self.server_reads, self.computes, self.server_sends] * 2
        self.random.choice(moves)()
        assert self.credit <= self.limit
        assert len(self.ledger.unacknowledged()) <= self.limit

    def client_sends(self):
        if not self.credit:
            return
        if not self.book.has_unsent and self.book.next_sequence <= self.frames:
            self.book.add(self.book.next_sequence)
        if self.book.has_unsent:
            self.credit -= 1
            self.link.up.append(("frame", self.book.take_unsent()))

    def client_acknowledges(self):
        self.link.up.append(("ack", self.book.acknowledgement))

    def client_reads(self):
        if not self.link.down:
            return
        kind, *values = self.link.down.pop(0)
        if kind == "opened":
            self.book.resume(values[0])
        elif kind == "credit":
            self.credit += values[0]
        elif self.book.answer(values[0]):
            self.book.hold(values[0])
            self.delivered.append(values[0])

    def server_reads(self):
        if not self.link.up:
            return
        kind, number = self.link.up.pop(0)
        if kind == "ack":
            self.ledger.acknowledge(number)
            self.give(self.ledger.grant())
        elif not self.ledger.repeats(number):
            ticket = self.ledger.take(str(number), number)
            assert self.ledger.objection(ticket) is None
            self.computing.append(ticket)

    def computes(self):
        if self.computing:
            place = self.random.randrange(len(self.computing))
            ticket = self.computing.pop(place)
            self.computed.append(ticket.sequence)
            self.outbox += self.ledger.settle(ticket, "done")

    def server_sends(self):
        if self.outbox:
            ticket, message = self.outbox.pop(0)
            self.ledger.sending(ticket, message)
            self.link.down.append(("answer", ticket.sequence, message))
            self.give(self.ledger.sent(ticket))

    def give(self, credits):
        if credits:
            self.link.down.append(("credit", credits))


@given(st.integers(0, 2**32), st.integers(1, 12), st.booleans(), st.floats(0.0, 0.1))
def test_over_any_breaks_every_frame_is_computed_once_and_delivered_once(
    seed, limit, in_order, break_share
):
    frames = 30
    model = Model(seed, limit, in_order, frames)
    breaks = random.Random(seed + 1)
    for step in range(40_000):
        if len(model.delivered) == frames:
            break
        # Breaks come to an end, or nothing would ever arrive.
        if step < 2000 and breaks.random() < break_share:
            model.connect()
        model.step()
    everything = list(range(1, frames + 1))
    assert sorted(model.computed) == everything
    assert sorted(model.delivered) == everything
    assert not in_order or model.delivered == everything
    model.connect()
    model.client_acknowledges()
    model.server_reads()
    # Both sides are even: nothing is kept, and all credit is out.
    assert model.ledger.is_settled
    while model.link.down:
        model.client_reads()
    assert model.credit == limit
    assert not model.book.unanswered
