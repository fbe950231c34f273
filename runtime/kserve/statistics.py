"""What ModelStatistics tells: counts, and where the time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.kserve.models import VERSION
from spinert.runtime.verdict import BatchRecord, Receipt, Stage

__all__ = ["ModelTally", "Split", "split_from_receipt"]

_INPUT = {"decode", "prepare"}
_OUTPUT = {"decide"}
_QUEUE = "queue."


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The time of one sample; the parts add up to all of it. Seconds."""

    queue_s: float
    """In which nothing was done for it."""
    input_s: float
    """Decoding and preparation."""
    infer_s: float
    """At least one network ran, or ran again."""
    output_s: float
    """From the last network to the answer."""


def split_from_receipt(receipt: Receipt) -> Split:
    """Add up the stages; networks that ran at once count once."""
    networks = [stage for stage in receipt.stages if _is_network(stage)]
    last_s = max((s.start_s + s.duration_s for s in networks), default=None)
    input_s = sum(s.duration_s for s in receipt.stages if s.name in _INPUT)
    infer_s = _covered_s(networks)
    output_s = 0.0 if last_s is None else max(0.0, receipt.total_s - last_s)
    return Split(
        queue_s=max(0.0, receipt.total_s - input_s - infer_s - output_s),
        input_s=input_s,
        infer_s=infer_s,
        output_s=output_s,
    )


@dataclass(slots=True)
class _Duration:
    count: float = 0.0
    seconds: float = 0.0

    def add(self, seconds: float, count: float = 1.0) -> None:
        self.count += count
        self.seconds += seconds

    def wire(self) -> oip.StatisticDuration:
        count, ns = round(self.count), round(self.seconds * 1e9)
        return oip.StatisticDuration(count=count, ns=ns)


@dataclass(slots=True)
class _BatchTimes:
    input: _Duration = field(default_factory=_Duration)
    infer: _Duration = field(default_factory=_Duration)
    output: _Duration = field(default_factory=_Duration)


class ModelTally:
    """Counts what one model answered; for one thread."""

    def __init__(self, name: str) -> None:
        """Start at nothing."""
        self._name = name
        self._last_ms = 0
        self._samples = 0
        self._executions = 0.0
        self._success, self._fail = _Duration(), _Duration()
        self._queue = _Duration()
        self._compute = _BatchTimes()
        self._batches: defaultdict[int, _BatchTimes] = defaultdict(_BatchTimes)

    def succeeded(
        self, receipts: Sequence[Receipt], total_s: float, now_ms: int
    ) -> None:
        """Count a request.

        Args:
            receipts: Of its samples, at least one; the slowest gives its times.
            total_s: From its arrival to its answer.
            now_ms: Since the epoch.
        """
        self._last_ms = now_ms
        self._samples += len(receipts)
        self._success.add(total_s)
        slowest = split_from_receipt(max(receipts, key=lambda r: r.total_s))
        self._queue.add(slowest.queue_s)
        self._compute.input.add(slowest.input_s)
        self._compute.infer.add(slowest.infer_s)
        # The way from the engine into the message counts, too.
        self._compute.output.add(
            max(0.0, total_s - slowest.queue_s - slowest.input_s - slowest.infer_s)
        )
        for receipt in receipts:
            self._count_batch(receipt)

    def failed(self, total_s: float) -> None:
        """Count a request that was refused or failed."""
        self._fail.add(total_s)

    def wire(self) -> oip.ModelStatistics:
        """Return the counts so far."""
        compute = self._compute
        return oip.ModelStatistics(
            name=self._name,
            version=VERSION,
            last_inference=self._last_ms,
            inference_count=self._samples,
            execution_count=_whole(self._executions),
            inference_stats=oip.InferStatistics(
                success=self._success.wire(),
                fail=self._fail.wire(),
                queue=self._queue.wire(),
                compute_input=compute.input.wire(),
                compute_infer=compute.infer.wire(),
                compute_output=compute.output.wire(),
            ),
            batch_stats=[
                oip.InferBatchStatistics(
                    batch_size=size,
                    compute_input=times.input.wire(),
                    compute_infer=times.infer.wire(),
                    compute_output=times.output.wire(),
                )
                for size, times in sorted(self._batches.items())
            ],
        )

    def _count_batch(self, receipt: Receipt) -> None:
        """Count a sample's share of its batch: mates may be other requests'."""
        size = _batch_size(receipt.batches)
        split = split_from_receipt(receipt)
        self._executions += 1 / size
        times = self._batches[size]
        times.input.add(split.input_s / size, 1 / size)
        times.infer.add(split.infer_s / size, 1 / size)
        times.output.add(split.output_s / size, 1 / size)


def _batch_size(batches: Iterable[BatchRecord]) -> int:
    """Return the size of a network's batch; the pipeline's own frames are single."""
    sizes = [batch.size for batch in batches]
    return sizes[0] if len(sizes) == 1 else 1


def _is_network(stage: Stage) -> bool:
    return stage.name not in _INPUT | _OUTPUT and not stage.name.startswith(_QUEUE)


def _covered_s(stages: Iterable[Stage]) -> float:
    """Return how long at least one of `stages` went on."""
    total_s, until_s = 0.0, float("-inf")
    for start_s, duration_s in sorted((s.start_s, s.duration_s) for s in stages):
        end_s = start_s + duration_s
        total_s += max(0.0, end_s - max(start_s, until_s))
        until_s = max(until_s, end_s)
    return total_s


def _whole(executions: float) -> int:
    """Return a count that is 0 only if there was none."""
    return max(1, round(executions)) if executions else 0
