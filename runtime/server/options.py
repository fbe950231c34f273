"""gRPC server options, each with its reason.

gRPC ignores a name it does not know without a word, so each option is tested by
its effect: tests/runtime/server/test_options.py.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Patience", "server_options"]

_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the server waits for a silent or vanished peer."""

    handshake_ms: int = 5_000
    """A TCP connection that says nothing is closed after this long."""
    keepalive_ms: int = 10_000
    """Silence after which a client is asked whether it is still there."""
    keepalive_timeout_ms: int = 5_000
    """Time it has to answer; then its calls end and its frames are withdrawn."""
    open_ms: int = 10_000
    """A stream that has not sent its Open is ended after this long."""
    min_client_ping_ms: int = 5_000
    """Clients that ping more often than this are cut off."""
    idle_ms: int = 300_000
    """A connection without any call is closed after this long."""
    farewell_ms: int = 5_000
    """How long clients may take to read the last answers of a server that ends."""


def server_options(
    *,
    max_message_mib: int = 64,
    max_connections: int = 256,
    patience: Patience | None = None,
) -> list[tuple[str, int]]:
    """Return the channel arguments of the server.

    There is no max_connection_age: only resumable streams survive being cut. Memory
    of a stream is bounded by lookahead_bytes + two messages.
    """
    patience = patience or Patience()
    return [
        # A 16-bit radiograph has 15 MB; gRPC's default is 4 MB.
        ("grpc.max_receive_message_length", max_message_mib * _MIB),
        ("grpc.max_send_message_length", max_message_mib * _MIB),
        # As the default of max_metadata_size: between the two limits, requests
        # would be refused by chance.
        ("grpc.absolute_max_metadata_size", 8 * 1024),
        ("grpc.max_concurrent_streams", 32),  # of one connection
        # Without the handshake timeout, silent connections would lock others out.
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.server_handshake_timeout_ms", patience.handshake_ms),
        ("grpc.max_connection_idle_ms", patience.idle_ms),
        ("grpc.keepalive_time_ms", patience.keepalive_ms),
        # Without it a vanished client is found after 60 s, whatever keepalive says.
        ("grpc.http2.ping_timeout_ms", patience.keepalive_timeout_ms),
        # These two are for older gRPC; with grpcio 1.85 they show no effect.
        ("grpc.keepalive_timeout_ms", patience.keepalive_timeout_ms),
        ("grpc.http2.max_pings_without_data", 0),
        # Not min_recv_ping_interval_without_data_ms, which gRPC does not know.
        ("grpc.http2.min_ping_interval_without_data_ms", patience.min_client_ping_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 2),
        # Bandwidth probing lets each stream buffer tens of MiB. Without it the
        # window stays as it is set here: what one round trip can carry.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 1 * _MIB),
        ("grpc.so_reuseport", 0),  # a second server on the port must fail to bind
    ]
