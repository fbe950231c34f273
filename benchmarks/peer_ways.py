"""How each server is asked: by its leanest documented protocols, as prepared bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from peer_clients import (
    Round,
    http,
    http_request,
    infer_request,
    kserve_stream,
    kserve_unary,
    multipart,
    spinert_stream,
    stream_bytes,
)
from peer_networks import Question

Ask = Callable[[str, float, int], Awaitable[Round]]
_BYTES = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to ask a server."""

    name: str
    client: str
    """What the client speaks, and how."""
    ask: Ask
    port_offset: int = 0


def kserve_ways(asked: Question, port_offset: int = 0) -> dict[str, Way]:
    """Return the ways of the Open Inference Protocol, by name."""
    message = infer_request(
        "classifier", asked.datatype, asked.image.shape, asked.pixels
    )
    return {
        "unary": Way(
            name="unary",
            client="gRPC, KServe v2",
            ask=partial(_with, kserve_unary, message),
            port_offset=port_offset,
        ),
        "streamed": Way(
            name="streamed",
            client="gRPC stream, KServe v2",
            ask=partial(_with, kserve_stream, message),
            port_offset=port_offset,
        ),
    }


def spinert_way(messages: list[bytes]) -> Way:
    """Return SpineRT's own stream."""
    ask = partial(_with, spinert_stream, messages)
    return Way(name="streamed", client="gRPC stream, SpineRT", ask=ask)


def echo_way(message: bytes) -> Way:
    ask = partial(_with, partial(stream_bytes, "/floor.Echo/Stream"), message)
    return Way(name="streamed", client="gRPC stream, bytes", ask=ask)


def _pytriton(asked: Question) -> list[Way]:
    return list(kserve_ways(asked, port_offset=1).values())


def _mlserver(asked: Question) -> list[Way]:
    return [kserve_ways(asked, port_offset=1)["unary"]]


def _litserve_json(asked: Question) -> list[Way]:
    return [_http("json", "/predict", asked.as_json(), "application/json")]


def _litserve_form(asked: Question) -> list[Way]:
    return [_http("form", "/predict", *multipart(asked.pixels))]


def _mosec(asked: Question) -> list[Way]:
    return [_http("raw", "/inference", asked.pixels, _BYTES)]


def _ray_serve(asked: Question) -> list[Way]:
    return [_http("raw", "/", asked.pixels, _BYTES)]


def _bentoml(asked: Question) -> list[Way]:
    return [_http("form", "/infer", *multipart(asked.pixels))]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server of others."""

    ways: Callable[[Question], list[Way]]
    folder: str
    """Below peers/."""
    words: tuple[str, ...] = ()
    """For its server.py, after network and port."""


PEERS = {
    "pytriton": Peer(ways=_pytriton, folder="pytriton"),
    "mosec": Peer(ways=_mosec, folder="mosec"),
    "litserve-json": Peer(ways=_litserve_json, folder="litserve", words=("json",)),
    "litserve-form": Peer(ways=_litserve_form, folder="litserve", words=("form",)),
    "mlserver": Peer(ways=_mlserver, folder="mlserver"),
    "bentoml": Peer(ways=_bentoml, folder="bentoml"),
    "ray_serve": Peer(ways=_ray_serve, folder="ray_serve"),
}


def _with(
    client: Callable[..., Awaitable[Round]],
    message: Any,
    address: str,
    seconds: float,
    depth: int,
) -> Awaitable[Round]:
    return client(address, message, seconds, depth)


def _http(name: str, path: str, body: bytes, content_type: str) -> Way:
    request = http_request(path, body, content_type)
    return Way(name=name, client="HTTP/1.1", ask=partial(_with, http, request))
