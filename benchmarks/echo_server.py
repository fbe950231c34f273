"""The floor: a bare grpc.aio server that sends every message back, or only takes it."""

from __future__ import annotations

import sys

import grpc
import uvloop

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
]


async def echo(requests, context):
    async for request in requests:
        yield request


async def sink(requests, context):
    async for _ in requests:
        yield b"taken"


async def main() -> None:
    server = grpc.aio.server(options=OPTIONS)
    handlers = {
        "Stream": grpc.stream_stream_rpc_method_handler(echo),
        "Sink": grpc.stream_stream_rpc_method_handler(sink),
    }
    methods = grpc.method_handlers_generic_handler("floor.Echo", handlers)
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f'{{"event": "ready", "address": "127.0.0.1:{port}"}}', file=sys.stderr)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
