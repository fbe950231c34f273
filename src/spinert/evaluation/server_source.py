"""Answer images on a running server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from spinert.evaluation.asking import ALL_OUTPUTS, ImageFile, answer_of, no_answer_of
from spinert.evaluation.errors import AnswersLost
from spinert.evaluation.records import Outcome
from spinert.evaluation.subject import (
    Subject,
    rules_from_bundle,
    subject_from_server,
)
from spinert.proto import inference_pb2 as pb
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.client import (
    Client,
    Frame,
    FrameOptions,
    FrameRefusal,
    RequestFailed,
)

__all__ = ["ServerSource", "server_source"]

_ROUNDS = 8
"""How often an image is sent that the server refuses for now."""
_LONGEST_WAIT_S = 10.0


class ServerSource:
    """A server, as it was when the evaluation began."""

    def __init__(self, client: Client, subject: Subject) -> None:
        """Answer over a connected client."""
        self.subject = subject
        self._client = client

    def answers(self, images: Iterable[ImageFile]) -> Iterator[Outcome]:
        """Yield the outcome of each image, as they are ready.

        Raises:
            AnswersLost: The stream broke, or the server serves something else now.
        """
        sending: Iterable[ImageFile] = images
        for _ in range(_ROUNDS):
            put_off: list[tuple[ImageFile, FrameRefusal]] = []
            yield from self._round(sending, put_off)
            if not put_off:
                return
            asked_s = max(refusal.retry_after_ms for _, refusal in put_off) / 1000
            time.sleep(min(asked_s, _LONGEST_WAIT_S))
            sending = [image for image, _ in put_off]
        for image, refusal in put_off:
            yield _refused(image, refusal, is_refusal=False)

    def _round(
        self,
        images: Iterable[ImageFile],
        put_off: list[tuple[ImageFile, FrameRefusal]],
    ) -> Iterator[Outcome]:
        """Send every image once; those to send again are added to `put_off`."""
        in_flight: dict[str, ImageFile] = {}
        try:
            for answer in self._client.stream(
                _frames(images, in_flight), in_order=False
            ):
                image = in_flight.pop(answer.frame_id)
                if not isinstance(answer, FrameRefusal):
                    self._require_same(answer.provenance)
                    yield answer_of(image, answer)
                elif answer.retry_after_ms:
                    put_off.append((image, answer))
                else:
                    yield _refused(image, answer, is_refusal=True)
        except RequestFailed as failure:
            told = failure.message or "the connection broke"
            raise AnswersLost(
                f"{failure.reason or failure.status.name}: {told}; run again to "
                "continue"
            ) from failure

    def _require_same(self, origin: pb.Provenance) -> None:
        """Stop where the server was restarted as something else, or fell back."""
        now = origin.bundle_sha256, origin.backend, origin.precision
        if now != self.subject.key or origin.degraded:
            raise AnswersLost(
                "the server changed while it was evaluated: it serves "
                f"{origin.bundle_name} {origin.bundle_version} on {origin.backend}, "
                f"{precision_text(origin.backend, origin.precision)}"
                f"{' (degraded)' if origin.degraded else ''} now; "
                "run again once it is settled"
            )


@contextmanager
def server_source(
    address: str, bundle: LoadedBundle | None, *, ready_timeout_s: float = 5.0
) -> Iterator[ServerSource]:
    """Yield a source that asks the server at `address`.

    Args:
        address: HOST:PORT.
        bundle: What it should serve, where that is at hand.
        ready_timeout_s: How long to wait until it serves.

    Raises:
        AnswersLost: No server is ready there, it serves another bundle, or its
            fallback.
    """
    # A quota of its own, or two evaluations at a time would share one.
    with Client(address, device=f"evaluate-{os.getpid()}") as client:
        try:
            info = client.wait_ready(timeout_s=ready_timeout_s)
        except RequestFailed as failure:
            raise AnswersLost(
                f"no answer from {address}: {failure.reason or failure.status.name}; "
                "see that `spinert serve` is running and ready"
            ) from failure
        if info.degraded:
            raise AnswersLost(
                f"{address} serves its fallback ({info.degraded_reason}); evaluate it "
                "once the configured backend serves"
            )
        if bundle is not None and bundle.sha256 != info.bundle_sha256:
            raise AnswersLost(
                f"{address} serves {info.bundle_name} {info.bundle_version} "
                f"({info.bundle_sha256[:8]}), not the bundle at {bundle.directory} "
                f"({bundle.sha256[:8]}); leave --bundle out, or name the one it serves"
            )
        rules = None if bundle is None else rules_from_bundle(bundle)
        yield ServerSource(client, subject_from_server(info, rules))


def _frames(
    images: Iterable[ImageFile], in_flight: dict[str, ImageFile]
) -> Iterator[Frame]:
    for number, image in enumerate(images):
        in_flight[str(number)] = image
        options = FrameOptions(frame_id=str(number), outputs=ALL_OUTPUTS)
        yield Frame.from_bytes(image.data, options)


def _refused(image: ImageFile, refusal: FrameRefusal, *, is_refusal: bool) -> Outcome:
    return no_answer_of(image, refusal.reason, refusal.message, is_refusal=is_refusal)
