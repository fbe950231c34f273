from __future__ import annotations

import numpy as np
import pytest
from support.bundles import tiny_spec
from support.engines import image

from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.gate.batches import gate_batches

SPEC = tiny_spec()


def tensors(*shapes):
    return [
        prepared_from_image(image(60 + 20 * i, *shape), SPEC, ["detector"]).inputs[
            "detector"
        ]
        for i, shape in enumerate(shapes)
    ]


THREE_AND_ONE = tensors((80, 64), (80, 64), (64, 96), (80, 64))


@pytest.mark.parametrize(
    "given", [THREE_AND_ONE, THREE_AND_ONE[:1], THREE_AND_ONE[:2]], ids=len
)
def test_every_slot_of_every_size_holds_a_golden_frame(given):
    visited = {
        (len(batch.frames), slot)
        for batch in gate_batches(given, range(1, 9))
        for slot, frame in enumerate(batch.frames)
        if frame is not None
    }
    assert visited == {(size, slot) for size in range(1, 9) for slot in range(size)}


def test_every_golden_frame_runs_alone():
    alone = [b.frames for b in gate_batches(THREE_AND_ONE, (1, 4)) if len(b.frames) < 2]
    assert sorted(alone) == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize("smallest", [2, 3, 5])
def test_every_golden_frame_runs_even_where_the_smallest_batch_is_larger(smallest):
    batches = gate_batches(THREE_AND_ONE, (smallest,))
    assert {f for b in batches for f in b.frames if f is not None} == {0, 1, 2, 3}


def test_every_padded_size_visits_every_slot_of_the_largest_batch():
    visited = {
        (batch.tensors[0].size, slot)
        for batch in gate_batches(THREE_AND_ONE, range(1, 6))
        for slot, frame in enumerate(batch.frames)
        if frame is not None and len(batch.frames) == 5
    }
    sizes = {tensor.size for tensor in THREE_AND_ONE}
    assert visited == {(size, slot) for size in sizes for slot in range(5)}


def test_a_frame_stands_where_it_is_said_to_stand():
    for batch in gate_batches(THREE_AND_ONE, range(1, 6)):
        for tensor, frame in zip(batch.tensors, batch.frames, strict=True):
            if frame is not None:
                assert tensor is THREE_AND_ONE[frame]


def test_mates_have_the_size_of_the_batch_and_are_all_different():
    for batch in gate_batches(THREE_AND_ONE, range(1, 6)):
        assert len({tensor.size for tensor in batch.tensors}) == 1
        assert len({t.pixels.tobytes() for t in batch.tensors}) == len(batch.tensors)


def test_a_mate_is_another_image_everywhere():
    batch, _ = gate_batches(THREE_AND_ONE[:1], (2,))
    golden, mate = (t.pixels for t in batch.tensors)
    half = golden.shape[1] // 2
    assert not np.array_equal(golden[:, :half], mate[:, :half])
    assert not np.array_equal(golden[:, half:], mate[:, half:])


def test_what_pads_a_mate_is_left_alone():
    [narrow] = tensors((80, 50))
    valid = narrow.placement.valid_height
    for batch in gate_batches([narrow], (3,)):
        for tensor in batch.tensors:
            padding = tensor.pixels[:, valid:]
            assert np.array_equal(padding, narrow.pixels[:, valid:])


def test_the_cost_is_that_of_the_slots_and_no_more():
    frames = sum(len(b.frames) for b in gate_batches(THREE_AND_ONE, range(1, 5)))
    # Alone 4; batches of 2 and 3 once; of 4 twice for three frames, four times for one.
    assert frames == 4 + 2 + 3 + 2 * 4 + 4 * 4
