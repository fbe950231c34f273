"""Which streams are given up where as many are kept as there may be."""

import asyncio
from dataclasses import dataclass

import pytest

from spinert.runtime.errors import Overloaded, Reason, StreamStateError
from spinert.runtime.server.resume import ResumeStore


@dataclass(eq=False)
class Session:
    """A stream that has something to lose, unless said otherwise."""

    is_settled: bool = False
    is_closed: bool = False

    async def cut(self):
        pass

    def close(self):
        self.is_closed = True


class Kept:
    """A store of streams, and what happened to each that it was given."""

    def __init__(self, max_streams):
        self.store = ResumeStore(window_s=60, max_streams=max_streams)
        self.holds = []

    def connected(self, device, **session):
        hold = self.store.add(Session(**session), device)
        self.holds.append(hold)
        return hold

    def left(self, *devices, **session):
        for device in devices:
            self.store.leave(self.connected(device, **session))

    @property
    def given_up(self):
        return [i for i, hold in enumerate(self.holds) if hold.session.is_closed]


def on_a_loop(script, max_streams=4):
    async def main():
        kept = Kept(max_streams)
        try:
            return script(kept)
        finally:
            kept.store.close()

    return asyncio.run(main())


def test_a_flapping_device_keeps_no_other_from_opening_a_stream():
    def script(kept):
        kept.left("steady", "flaps", "flaps", "flaps")
        kept.connected("another")
        assert kept.given_up == [1]
        kept.connected("a third")
        assert kept.given_up == [1, 2]

    on_a_loop(script)


def test_a_flapping_device_makes_room_for_itself():
    def script(kept):
        kept.left("steady", "flaps", "other", "flaps")
        for _ in range(10):
            kept.left("flaps")
        # All but the latest two of its own.
        assert kept.given_up == [1, *range(3, 12)]

    on_a_loop(script)


def test_of_two_devices_with_equally_many_the_one_that_asks_gives_one_up():
    def script(kept):
        kept.left("one", "two", "one", "two")
        kept.connected("two")
        assert kept.given_up == [1]

    on_a_loop(script)


def test_a_device_that_asks_again_gives_up_its_only_one_before_another_does():
    def script(kept):
        kept.left("one", "one", "two")
        kept.connected("three")
        kept.connected("two")
        assert kept.given_up == [2]

    on_a_loop(script)


def test_a_stream_with_nothing_to_lose_goes_before_any_other():
    def script(kept):
        kept.left("flaps", "flaps", "flaps")
        kept.left("idle", is_settled=True)
        kept.connected("another")
        assert kept.given_up == [3]

    on_a_loop(script)


def test_a_device_with_one_stream_does_not_lose_it_to_another():
    def script(kept):
        kept.left("one", "two", "three", "four")
        with pytest.raises(Overloaded) as refused:
            kept.connected("five")
        assert refused.value.reason is Reason.RESUME_STREAMS_FULL
        assert refused.value.retry_after_ms
        assert kept.given_up == []

    on_a_loop(script)


def test_a_stream_that_has_a_connection_is_never_given_up():
    def script(kept):
        for _ in range(3):
            kept.connected("many")
        kept.left("one")
        with pytest.raises(Overloaded):
            kept.connected("many")
        assert kept.given_up == []

    on_a_loop(script)


def test_the_token_of_a_stream_that_was_given_up_is_not_known_any_more():
    async def main():
        kept = Kept(4)
        kept.left("flaps", "flaps", "flaps", "flaps", "flaps")
        with pytest.raises(StreamStateError) as unknown:
            await kept.store.resume(kept.holds[0].token, "flaps")
        assert unknown.value.reason is Reason.RESUME_TOKEN_UNKNOWN
        hold = await kept.store.resume(kept.holds[1].token, "flaps")
        assert hold.session is kept.holds[1].session
        kept.store.close()

    asyncio.run(main())


def test_a_device_that_stays_connected_leaves_places_for_others():
    def script(kept):
        for _ in range(14):
            kept.connected("greedy")
        with pytest.raises(Overloaded) as caught:
            kept.connected("greedy")
        assert caught.value.reason is Reason.RESUME_STREAMS_FULL
        kept.connected("another")
        kept.connected("another")
        with pytest.raises(Overloaded):
            kept.connected("a third")
        assert kept.given_up == []

    on_a_loop(script, 16)


def test_a_device_that_has_most_gives_up_its_own_streams_only():
    def script(kept):
        kept.left("idle", is_settled=True)
        kept.left("greedy")
        for _ in range(13):
            kept.connected("greedy")
        assert kept.given_up == []
        kept.connected("greedy")
        assert kept.given_up == [1]

    on_a_loop(script, 16)


def test_no_device_has_all_streams_whoever_leaves():
    def script(kept):
        for _ in range(6):
            kept.connected("greedy")
        kept.left("one", "two", is_settled=True)
        kept.connected("greedy")
        assert kept.given_up == [6]
        with pytest.raises(Overloaded):
            kept.connected("greedy")
        kept.connected("another")
        assert kept.given_up == [6, 7]

    on_a_loop(script, 8)


def test_streams_of_others_are_no_reason_to_refuse_a_device_its_second():
    def script(kept):
        kept.connected("one")
        kept.left(*"abcdef", is_settled=True)
        kept.connected("one")
        assert kept.given_up == []

    on_a_loop(script, 8)
