"""gRPC client options: the other half of spinert.runtime.server.options."""

from __future__ import annotations

import json

__all__ = ["client_options"]

_MIB = 2**20

# Only what waiting can cure. Each of these of the server itself comes with a pushback,
# which takes the place of the backoff here, or says that repeating is pointless; a
# message over the limit is refused before it is sent, where the limit is known.
# Analyze changes nothing, so repeating is safe.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "spinert.v1.SpineInference", "method": "Analyze"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}


def client_options(
    *, max_message_mib: int = 64, keepalive_ms: int = 20_000
) -> list[tuple[str, int | str]]:
    """Return the channel arguments of a client."""
    return [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # Below the size of a frame, retrying is switched off without a word.
        ("grpc.per_rpc_retry_buffer_size", (max_message_mib + 1) * _MIB),
        ("grpc.max_send_message_length", max_message_mib * _MIB),
        ("grpc.max_receive_message_length", max_message_mib * _MIB),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 50),
        # In spite of its name the time that one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # A client per device and process: sharing connections would make one
        # client's settings another's.
        ("grpc.use_local_subchannel_pool", 1),
    ]
