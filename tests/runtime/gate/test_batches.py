from __future__ import annotations

import numpy as np
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


def test_a_frame_stands_where_it_is_said_to_stand():
    for batch in gate_batches(THREE_AND_ONE, range(1, 6)):
        for tensor, frame in zip(batch.tensors, batch.frames, strict=True):
            if frame is not None:
                assert tensor is THREE_AND_ONE[frame]


def test_frames_of_equal_padded_size_share_a_batch_and_their_mates_differ():
    for batch in gate_batches(THREE_AND_ONE, range(1, 9)):
        assert len({tensor.size for tensor in batch.tensors}) == 1
        golden = {frame for frame in batch.frames if frame is not None}
        mates = batch.frames.count(None)
        images = {tensor.pixels.tobytes() for tensor in batch.tensors}
        assert len(images) == len(golden) + mates


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


def test_an_engine_of_five_slots_is_proven_at_every_size_of_image():
    visited = {
        (batch.tensors[0].size, slot)
        for batch in gate_batches(THREE_AND_ONE, range(1, 6))
        for slot, frame in enumerate(batch.frames)
        if frame is not None and len(batch.frames) == 5
    }
    sizes = {tensor.size for tensor in THREE_AND_ONE}
    assert visited == {(size, slot) for size in sizes for slot in range(5)}
