"""Which execution context runs a batch, and when its work becomes a CUDA graph.

A context per slot and profile runs every shape. A shape that comes back gets a context
of its own, whose shapes are set once and never change, and a CUDA graph captured from
it. NVIDIA advises one context for each graph (TensorRT's guide, "CUDA Graphs"): a
graph keeps pointers into its context, which a change of shape would leave dangling.
They are cheap because all contexts share one scratch memory: they run one after the
other on one stream.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.device import Device, Graph, Stream
from spinert.runtime.errors import BackendError
from spinert.runtime.tensor_rt.engine import ExecutionContext, LoadedEngine
from spinert.runtime.tensor_rt.profiling import measured_layers
from spinert.runtime.tensor_rt.signature import Shape, profile_for
from spinert.runtime.tensor_rt.slots import Slot

__all__ = ["Plan", "Plans"]

logger = logging.getLogger(__name__)

_Key = tuple[int, tuple[tuple[str, Shape], ...]]

_SEEN_PER_GRAPH = 4
"""Shapes remembered as seen once, for each graph that may be kept."""


@dataclass(kw_only=True, slots=True)
class Plan:
    """How a batch of one shape is run in one slot."""

    context: ExecutionContext
    outputs: Mapping[str, Shape]
    is_dedicated: bool
    graph: Graph | None = None

    def enqueue(self, stream: Stream) -> None:
        """Enqueue one run on `stream`."""
        if self.graph is not None:
            self.graph.launch(stream)
        else:
            self.context.enqueue(stream.handle)

    def free(self) -> None:
        """Drop graph, then context; nothing of them may be running."""
        if self.graph is not None:
            self.graph.free()
        self.context.close()


class Plans:
    """The contexts and graphs of one engine; used under one lock.

    All work is enqueued on `stream`: that order is what lets contexts share memory.
    """

    def __init__(
        self,
        device: Device,
        engine: LoadedEngine,
        stream: Stream,
        scratch: int,
        max_graphs: int,
    ) -> None:
        """Start without contexts.

        Args:
            device: Current in every thread that calls.
            engine: The network.
            stream: Where it runs.
            scratch: Address of `engine.scratch_bytes` of device memory.
            max_graphs: Graphs kept, over all slots and shapes; 0: none are captured.
        """
        self._device = device
        self._engine = engine
        self._stream = stream
        self._scratch = scratch
        self._max_graphs = max_graphs if device.captures_graphs else 0
        self._general: dict[tuple[int, int], ExecutionContext] = {}
        self._dedicated: OrderedDict[_Key, Plan] = OrderedDict()
        self._seen: OrderedDict[_Key, None] = OrderedDict()

    @property
    def graphs(self) -> int:
        """How many graphs are kept."""
        return sum(plan.graph is not None for plan in self._dedicated.values())

    def add_slot(self, slot: Slot) -> None:
        """Make the contexts that run any shape in `slot`.

        Raises:
            BackendError: TensorRT or the device cannot.
        """
        for profile in range(len(self._engine.signature.profiles)):
            self._general[slot.index, profile] = self._context(slot, profile)

    def plan_for(self, slot: Slot, shapes: Mapping[str, Shape]) -> Plan:
        """Return what runs a batch of `shapes` next in `slot`.

        Raises:
            BackendError: The engine was not compiled for `shapes`.
        """
        profile = profile_for(self._engine.role, self._engine.signature, shapes)
        key = slot.index, tuple(sorted(shapes.items()))
        if key in self._dedicated:
            self._dedicated.move_to_end(key)
            return self._dedicated[key]
        if self._max_graphs and key in self._seen:
            return self._dedicate(key, slot, profile, shapes)
        self._remember(key)
        context = self._general[slot.index, profile]
        context.set_shapes(shapes)
        return Plan(
            context=context, outputs=context.output_shapes(), is_dedicated=False
        )

    def after_run(self, plan: Plan) -> None:
        """Capture `plan` if it ran without a graph and is to have one.

        TensorRT needs one plain run after a shape was set before it can be captured.

        Raises:
            DeviceLost: The device died.
        """
        if not plan.is_dedicated or plan.graph is not None or not self._max_graphs:
            return
        try:
            plan.graph = self._device.capture(
                self._stream, lambda: plan.context.enqueue(self._stream.handle)
            )
        except BackendError as error:
            self._device.check()
            logger.warning(
                "network %s runs without CUDA graphs: %s",
                self._engine.role,
                error.message,
            )
            self._max_graphs = 0

    def layer_times(
        self, slot: Slot, shapes: Mapping[str, Shape], runs: int
    ) -> tuple[LayerTime, ...]:
        """Run what lies in `slot` in a context of its own that times its layers.

        Raises:
            BackendError: The engine was not compiled for `shapes`, or cannot be
                profiled.
            DeviceLost: The device died.
        """
        profile = profile_for(self._engine.role, self._engine.signature, shapes)
        api = self._engine.flavour.api
        with closing(self._context(slot, profile)) as context:
            context.set_shapes(shapes)
            return measured_layers(api, context, self._stream, runs)

    def close(self) -> None:
        """Drop all graphs and contexts; the stream must be empty."""
        with ExitStack() as owner:
            for context in self._general.values():
                owner.callback(context.close)
            for plan in self._dedicated.values():
                owner.callback(plan.free)
        self._general.clear()
        self._dedicated.clear()
        self._seen.clear()

    def _dedicate(
        self, key: _Key, slot: Slot, profile: int, shapes: Mapping[str, Shape]
    ) -> Plan:
        while len(self._dedicated) >= self._max_graphs:
            # It may still be running in another slot.
            self._stream.synchronize()
            _, oldest = self._dedicated.popitem(last=False)
            oldest.free()
        context = self._context(slot, profile)
        context.set_shapes(shapes)
        plan = Plan(context=context, outputs=context.output_shapes(), is_dedicated=True)
        self._dedicated[key] = plan
        del self._seen[key]
        return plan

    def _remember(self, key: _Key) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > max(1, self._max_graphs) * _SEEN_PER_GRAPH:
            self._seen.popitem(last=False)

    def _context(self, slot: Slot, profile: int) -> ExecutionContext:
        made = self._engine.context(profile, self._scratch, self._stream.handle)
        # The context is used from here on by this stream alone, in order.
        made.bind(slot.addresses)
        return made
