"""Packets between a front process and the executor."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest
from support.shared_memory import open_files
from support.shortages import no_descriptors

from spinert.runtime.server import relay_wire
from spinert.runtime.server.relay_wire import Kind, RelayConnection, Status


def pair(script):
    async def main():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        first, second = RelayConnection(ours), RelayConnection(theirs)
        try:
            async with asyncio.timeout(20):
                await script(first, second)
        finally:
            first.close()
            second.close()

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, 3_000_000])
def test_messages_of_any_size_arrive_as_they_were_sent(size):
    message = bytes(i % 251 for i in range(size))

    async def script(first, second):
        await first.send_message(message)
        packet = await second.receive()
        assert bytes(packet.body) == message
        assert packet.kind is (Kind.MEMORY if size > 32 * 1024 else Kind.MESSAGE)

    pair(script)


def test_memory_that_could_still_be_changed_is_not_taken():
    async def script(first, second):
        memory = os.memfd_create("test")
        os.write(memory, b"pixels")
        await first.send(Kind.MEMORY, b"", (memory,))
        os.close(memory)
        with pytest.raises(ConnectionAbortedError):
            await second.receive()

    pair(script)


@pytest.mark.parametrize(
    ("kind", "count", "body"),
    [
        (Kind.MEMORY, 0, b""),
        (Kind.MEMORY, 2, b""),
        (Kind.MESSAGE, 1, b"text"),
        (Kind.TAKEN, 1, b""),
    ],
)
def test_a_packet_without_exactly_what_belongs_to_it_ends_the_call(kind, count, body):
    async def script(first, second):
        memories = [relay_wire._sealed(b"pixels") for _ in range(count)]
        await first.send(kind, body, memories)
        for memory in memories:
            os.close(memory)
        before = open_files()
        with pytest.raises(ConnectionAbortedError):
            await second.receive()
        assert open_files() == before

    pair(script)


@pytest.mark.parametrize("packet", [b"?", b"M" * (65 * 1024)])
def test_a_packet_of_no_known_kind_or_cut_short_ends_the_call(packet):
    async def main():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            connection = RelayConnection(theirs)
            ours.send(packet)
            with pytest.raises(ConnectionAbortedError):
                await connection.receive()
            connection.close()

    asyncio.run(main())


def test_empty_memory_ends_the_call():
    async def script(first, second):
        memory = relay_wire._sealed(b"")
        await first.send(Kind.MEMORY, b"", (memory,))
        os.close(memory)
        with pytest.raises(ConnectionAbortedError):
            await second.receive()

    pair(script)


def test_a_large_message_is_no_empty_one_where_it_finds_no_descriptor():
    async def script(first, second):
        await first.send_message(bytes(100_000))
        with no_descriptors(), pytest.raises(ConnectionAbortedError):
            await second.receive()

    pair(script)


def test_a_message_that_cannot_be_sent_ends_the_call_for_both_sides():
    async def script(first, second):
        await second.send(Kind.STATUS, b"before")
        with no_descriptors(), pytest.raises(OSError, match="open files"):
            await first.send_message(bytes(100_000))
        assert (await first.receive()).body == b"before"
        assert await first.receive() is None
        assert await second.receive() is None

    pair(script)


def test_what_was_sent_before_the_end_arrives_though_not_all_was_read():
    async def script(first, second):
        await second.send(Kind.DONE)
        await first.send(Kind.STATUS, b"last")
        first.close()
        assert (await second.receive()).body == b"last"
        assert await second.receive() is None

    pair(script)


def test_memory_that_nobody_sends_any_more_is_closed(monkeypatch):
    made, has_begun, may_end = [], threading.Event(), threading.Event()
    sealed = relay_wire._sealed

    def held(message):
        has_begun.set()
        may_end.wait(20)
        made.append(sealed(message))
        return made[0]

    async def script(first, second):
        sending = asyncio.create_task(first.send_message(bytes(100_000)))
        await asyncio.to_thread(has_begun.wait, 20)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        may_end.set()
        while not made or Path(f"/proc/self/fd/{made[0]}").is_symlink():
            await asyncio.sleep(0.01)

    monkeypatch.setattr(relay_wire, "_sealed", held)
    pair(script)


def test_a_sender_waits_for_room_and_a_reader_for_packets():
    async def script(first, second):
        sending = asyncio.create_task(send_many(first))
        await asyncio.sleep(0.05)
        assert not sending.done()
        for i in range(100):
            assert (await second.receive()).body == bytes([i]) * 20_000
        await sending

    async def send_many(connection):
        for i in range(100):
            await connection.send_message(bytes([i]) * 20_000)

    pair(script)


def test_a_status_keeps_text_and_bytes_apart():
    status = Status(
        code=8, message="full", trailers=(("a", "text"), ("b-bin", b"\xff"))
    )
    assert Status.from_json(status.to_json()) == status
