"""One request to one model: from tensors through the engine to tensors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from spinert.proto import bundle_pb2
from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.engine.tensors import TensorAnswer
from spinert.runtime.errors import ProtocolViolation, Reason
from spinert.runtime.frame import (
    Answer,
    Buffer,
    Content,
    FrameRequest,
    Payload,
    TensorFrame,
)
from spinert.runtime.kserve import spine
from spinert.runtime.kserve.calls import Call, KserveEngine, Received
from spinert.runtime.kserve.inputs import InputTensor, inputs_from_request
from spinert.runtime.kserve.models import SPINE, Model
from spinert.runtime.kserve.network import (
    NetworkLimits,
    outputs_from_answers,
    refuse_not_finite,
    samples_from_pixels,
    valid_areas,
)
from spinert.runtime.kserve.outputs import (
    Elements,
    RegionWrite,
    Wanted,
    response_from_outputs,
    set_parameter,
    wanted_outputs,
)
from spinert.runtime.kserve.parameters import Parameters, Wishes, wishes_from_parameters
from spinert.runtime.kserve.statistics import ModelTally
from spinert.runtime.messages import MAX_FRAME_ID_BYTES
from spinert.runtime.replies import FrameNames, Identity, result_from_answer
from spinert.runtime.server.peer_regions import PeerRegions
from spinert.runtime.verdict import Receipt

__all__ = ["Inference"]

_LARGE_BYTES = 256 * 1024
"""From here on bytes are copied on another thread: the event loop has others to
serve."""
_LARGE_LOOK_BYTES = 2 * 2**20
"""From here on numbers are looked at on another thread: 15 us for 600 KB, where that
would cost 200, but 19 ms for 51 MB."""
_LONGEST_DEADLINE_S = 86_400.0
"""Beyond a day a deadline is none."""
_NO_PARAMETERS: Mapping[str, type] = {}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A request whose parameters and outputs are understood."""

    received: Received
    model: Model
    wishes: Wishes
    wanted: tuple[Wanted, ...]
    memory: PeerRegions
    arrived_s: float
    deadline_s: float | None
    device: str

    def frame(self, content: Content) -> FrameRequest:
        return FrameRequest(
            content=content,
            arrived_s=self.arrived_s,
            deadline_s=self.deadline_s,
            device=self.device,
            priority=self.wishes.priority,
            outputs=spine.asked_of(self.wanted),
        )


class Inference:
    """Answers requests to the models of one bundle."""

    def __init__(
        self,
        engine: KserveEngine,
        identity: Callable[[], Identity],
        clock: Callable[[], float],
        networks: Mapping[str, bundle_pb2.Network],
        max_edge_px: int,
    ) -> None:
        """Have `engine` answer, with `clock` for its clock.

        Args:
            engine: Of the bundle.
            identity: What answers say of their origin at the moment.
            clock: Monotonic, in seconds; the engine's own.
            networks: Of the bundle, by role.
            max_edge_px: Of a frame.
        """
        self._engine = engine
        self._identity = identity
        self._clock = clock
        self._limits = {
            role: NetworkLimits(network.input, max_edge_px)
            for role, network in networks.items()
        }
        self.tallies = {name: ModelTally(name) for name in (SPINE, *sorted(networks))}

    async def answer(
        self, received: Received, model: Model, memory: PeerRegions, call: Call
    ) -> oip.ModelInferResponse:
        """Answer one request, and count it.

        Raises:
            SpinertError: It cannot be answered.
        """
        tally = self.tallies[model.name]
        arrived_s = self._clock()
        try:
            asked = self._asked(received, model, memory, call, arrived_s)
            response, receipts = await self._answered(asked)
        except BaseException:
            tally.failed(self._clock() - arrived_s)
            raise
        now_ms = time.time_ns() // 1_000_000
        tally.succeeded(receipts, self._clock() - arrived_s, now_ms)
        return response

    def _asked(
        self,
        received: Received,
        model: Model,
        memory: PeerRegions,
        call: Call,
        arrived_s: float,
    ) -> _Asked:
        request = received.request
        if len(request.id.encode()) > MAX_FRAME_ID_BYTES:
            raise ProtocolViolation(
                Reason.FIELD_TOO_LONG, f"id may have at most {MAX_FRAME_ID_BYTES} bytes"
            )
        known = _NO_PARAMETERS if model.role else spine.PARAMETERS
        wishes = wishes_from_parameters(request.parameters, known)
        limits_s = [
            limit_s
            for limit_s in (call.remaining_s, wishes.timeout_s)
            if limit_s is not None and limit_s <= _LONGEST_DEADLINE_S
        ]
        wanted = wanted_outputs(request, model)
        for output in wanted:
            if output.part is not None:
                part = output.part
                memory.refuse_unwritable(part.region, part.offset, part.length)
        return _Asked(
            received=received,
            model=model,
            wishes=wishes,
            wanted=wanted,
            memory=memory,
            arrived_s=arrived_s,
            deadline_s=arrived_s + min(limits_s) if limits_s else None,
            device=wishes.device or call.peer,
        )

    async def _answered(
        self, asked: _Asked
    ) -> tuple[oip.ModelInferResponse, Sequence[Receipt]]:
        request = asked.received.request
        inputs = inputs_from_request(
            request, asked.received.raw_contents, asked.model, asked.memory
        )
        if asked.model.role:
            outputs, receipts = await self._network_outputs(asked, inputs)
            response, writes = response_from_outputs(request, asked.wanted, outputs)
        else:
            answer = await self._pipeline_answer(asked, inputs)
            receipts = [answer.receipt]
            response, writes = self._verdict(asked, answer)
        for write in writes:
            await _written(asked.memory, write)
        return response, receipts

    # ----------------------------------------------------------- a network alone

    async def _network_outputs(
        self, asked: _Asked, inputs: Mapping[str, InputTensor]
    ) -> tuple[Mapping[str, Elements], Sequence[Receipt]]:
        # Pixels in shared memory are copied only when nothing else can be wrong.
        self._limits[asked.model.role].check(asked.model, inputs)
        areas = valid_areas(inputs)
        image = inputs["image"]
        pixels = image.array(await _fetched(image.payload))
        if pixels.nbytes < _LARGE_LOOK_BYTES:
            refuse_not_finite(pixels)
        else:
            await asyncio.to_thread(refuse_not_finite, pixels)
        samples = samples_from_pixels(asked.model, pixels, areas)
        answers = await self._all(asked, samples)
        outputs = outputs_from_answers(asked.model.outputs, answers)
        return outputs, [answer.receipt for answer in answers]

    async def _all(
        self, asked: _Asked, samples: Sequence[TensorFrame]
    ) -> list[TensorAnswer]:
        """Have all samples answered, or withdraw those that are left."""
        futures: list[concurrent.futures.Future[TensorAnswer]] = []
        try:
            for sample in samples:
                request = asked.frame(sample)
                futures.append(self._engine.submit_tensor(request, sample))
            return [await asyncio.wrap_future(future) for future in futures]
        finally:
            for future in futures:
                future.cancel()

    # -------------------------------------------------------------- the pipeline

    async def _pipeline_answer(
        self, asked: _Asked, inputs: Mapping[str, InputTensor]
    ) -> Answer:
        if len(inputs) != 1:
            raise ProtocolViolation(
                Reason.TENSOR_INVALID,
                "give either input frame (a file) or input image (raw pixels)",
            )
        [(name, tensor)] = inputs.items()
        parameters: Parameters = asked.wishes.rest
        content: Content
        if name == "frame":
            content = spine.content_from_file(tensor, parameters, asked.memory)
        else:
            content = spine.content_from_image(tensor, parameters)
        # Cancelling this coroutine cancels the engine's future.
        return await asyncio.wrap_future(self._engine.submit(asked.frame(content)))

    def _verdict(
        self, asked: _Asked, answer: Answer
    ) -> tuple[oip.ModelInferResponse, Sequence[RegionWrite]]:
        request, given = asked.received.request, asked.wishes.rest
        names = FrameNames(
            frame_id=request.id,
            study_uid=str(given.get("study_uid", "")),
            series_uid=str(given.get("series_uid", "")),
        )
        result = result_from_answer(answer, self._identity(), names)
        outputs = spine.outputs_from_result(result, asked.wanted)
        response, writes = response_from_outputs(request, asked.wanted, outputs)
        origin = result.provenance
        set_parameter(response, "bundle", origin.bundle_name)
        set_parameter(response, "bundle_version", origin.bundle_version)
        set_parameter(response, "bundle_sha256", origin.bundle_sha256)
        set_parameter(response, "backend", origin.backend)
        set_parameter(response, "precision", origin.precision)
        set_parameter(response, "degraded", origin.degraded)
        set_parameter(response, "input_sha256", origin.input_sha256)
        set_parameter(response, "total_ms", result.receipt.total_ms)
        if origin.notice:
            set_parameter(response, "notice", origin.notice)
        return response, writes


async def _fetched(payload: Payload) -> Buffer:
    if isinstance(payload, bytes | memoryview):
        return payload
    return await _aside(payload.nbytes, payload.fetch)


async def _written(memory: PeerRegions, write: RegionWrite) -> None:
    part = write.part
    await _aside(len(write.data), memory.write, part.region, part.offset, write.data)


async def _aside(n_bytes: int, work: Callable[..., T], *args: Any) -> T:
    """Call `work`, which copies `n_bytes`, without keeping the event loop."""
    if n_bytes < _LARGE_BYTES:
        return work(*args)
    return await asyncio.to_thread(work, *args)
