"""A TCP proxy that can break connections, as networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CuttingProxy:
    """Passes bytes on to a server until it is told to break.

    `up` and `down` count the bytes passed on to the server and to the client over
    all connections; a connection breaks the moment a count reaches the next of
    `cuts_up` or `cuts_down`, which must be sorted, and not one byte later.
    """

    def __init__(self, target: str) -> None:
        self.lead_to(target)
        self._streams: set[asyncio.StreamWriter] = set()
        self.passed = {"up": 0, "down": 0}
        self.cuts: dict[str, list[int]] = {"up": [], "down": []}
        self.connections = 0
        self.is_stalled = False
        """Connections stay open and pass nothing: a half-dead link."""
        self.is_refusing = False
        self.address = ""

    def lead_to(self, target: str) -> None:
        """Take connections from now on to another server, HOST:PORT."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in tuple(self._streams):
            writer.transport.abort()

    async def accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        pair = (writer, far_writer)
        self._streams.update(pair)
        try:
            await asyncio.gather(
                self._pass_on(reader, far_writer, "up"),
                self._pass_on(far_reader, writer, "down"),
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in pair:
                each.transport.abort()
                self._streams.discard(each)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        while data := await reader.read(1 << 16):
            while self.is_stalled:
                await asyncio.sleep(0.01)
            cuts = self.cuts[way]
            room = cuts[0] - self.passed[way] if cuts else len(data)
            writer.write(data[:room])
            self.passed[way] += min(room, len(data))
            with suppress(ConnectionError):
                await writer.drain()
            if cuts and room <= len(data):
                del cuts[0]
                # What was written has to leave before the connection breaks.
                await asyncio.sleep(0.002)
                raise ConnectionResetError
        raise ConnectionResetError


@asynccontextmanager
async def cutting_proxy(target: str) -> AsyncIterator[CuttingProxy]:
    """Yield a proxy to `target`, HOST:PORT, on a free port."""
    proxy = CuttingProxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.address = f"127.0.0.1:{port}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
