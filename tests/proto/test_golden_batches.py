"""Which golden frames run together: nothing about a slot stays unproven."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from spinert.proto.golden_batches import filled, golden_batches, mate_image

THREE_AND_ONE = ["a", "b", "a", "a"]
SIZES = range(1, 11)


def batches(shapes, sizes):
    return list(golden_batches(shapes, sizes))


def content(slots, slot):
    """Return what stands in a slot; no two mates are equal."""
    return slots[slot] if slots[slot] is not None else f"mate {slot}"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_no_slot_can_answer_for_another_unnoticed(count):
    made = batches(["a"] * count, SIZES)
    for size in SIZES:
        of_size = [slots for slots in made if len(slots) == size]
        for asked, other in permutations(range(size), 2):
            assert any(
                slots[asked] is not None
                and content(slots, asked) != content(slots, other)
                for slots in of_size
            )


@pytest.mark.parametrize("shapes", [["a"], ["a", "a"], THREE_AND_ONE, ["a", "b"]])
def test_every_slot_of_every_size_holds_a_golden_frame(shapes):
    visited = {
        (len(slots), slot)
        for slots in batches(shapes, SIZES)
        for slot, frame in enumerate(slots)
        if frame is not None
    }
    assert visited == {(size, slot) for size in SIZES for slot in range(size)}


@pytest.mark.parametrize("largest", [2, 5, 8])
def test_every_padded_size_fills_every_slot_of_the_largest_batch(largest):
    shapes = [*THREE_AND_ONE, "b", "c"]
    visited = {
        (shapes[frame], slot)
        for slots in batches(shapes, range(1, largest + 1))
        for slot, frame in enumerate(slots)
        if frame is not None and len(slots) == largest
    }
    assert visited == {(shape, slot) for shape in "abc" for slot in range(largest)}


def test_golden_frames_of_other_sizes_stand_beside_other_images():
    for slots in batches(THREE_AND_ONE, (8,)):
        shown = [content(slots, slot) for slot in range(8)]
        if 1 in slots:
            assert all(one != other for one, other in pairwise(shown))


def test_golden_frames_of_another_size_take_turns_in_a_large_batch():
    large = [slots for slots in batches([*"aaabb"], (1, 8)) if len(slots) == 8]
    assert {frame for slots in large for frame in slots} >= {3, 4}


def test_a_batch_holds_frames_of_one_padded_size():
    shapes = ["a", "b", "c", "b", "a", "a"]
    for slots in batches(shapes, SIZES):
        assert len({shapes[frame] for frame in slots if frame is not None}) == 1


@pytest.mark.parametrize("smallest", [1, 2, 3, 5])
def test_every_golden_frame_runs_at_the_smallest_size(smallest):
    shapes = [*THREE_AND_ONE, "a", "a", "a"]
    made = batches(shapes, (smallest, 8))
    met = {frame for slots in made if len(slots) == smallest for frame in slots}
    assert met - {None} == set(range(len(shapes)))


def test_every_golden_frame_runs_alone_once():
    alone = [slots for slots in batches(THREE_AND_ONE, (1, 4)) if len(slots) == 1]
    assert sorted(alone) == [(0,), (1,), (2,), (3,)]


def test_other_frames_come_first_as_batches_grow():
    made = batches(["a"] * 3, (1, 2, 3))
    assert {slots[0] for slots in made if len(slots) > 1} == {1, 2}


def test_what_it_costs():
    def frames(shapes, largest):
        return sum(len(slots) for slots in batches(shapes, range(1, largest + 1)))

    # Alone 4; of 2 and 3 one batch each; of 4 two for three frames and two for one.
    assert frames(THREE_AND_ONE, 4) == 4 + 2 + 3 + 2 * 4 + 2 * 4
    assert frames(THREE_AND_ONE, 8) == 4 + 2 + 3 + 2 * (4 + 5 + 6 + 7 + 8) + 2 * 8
    # Two frames of another size take one batch of two, and two batches of three.
    assert frames([*"aaabb"], 2) == 5 + 2 + 2
    assert frames([*"aaabb"], 3) == 5 + 2 + 3 + 2 * 3
    # One frame alone takes as many batches as slots up to four, then fewer.
    assert frames(["a"], 8) == 1 + 2 * 2 + 3 * 3 + 4 * 4 + 4 * (5 + 6) + 5 * (7 + 8)


def test_sizes_may_come_in_any_order_and_twice():
    assert batches(THREE_AND_ONE, [4, 1, 4, 2]) == batches(THREE_AND_ONE, (1, 2, 4))


def test_what_fills_a_batch_is_golden_or_a_mate_of_its_own_slot():
    def mate_of(frame, part):
        return f"{frame} {part:.1f}"

    assert filled((None, 1, None, 0), "xy", mate_of) == ("y 0.2", "y", "y 0.6", "x")


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_mate_is_another_image_in_its_valid_part_only(kind):
    image = np.random.default_rng(1).integers(1, 255, (1, 12, 9)).astype(kind)
    image[:, 10:] = image[:, :, 7:] = 0
    mates = [mate_image(image, (10, 7), slot / 9) for slot in range(1, 9)]
    assert len({made.tobytes() for made in (image, *mates)}) == 9
    for made in mates:
        assert made.dtype == image.dtype
        assert not made[:, 10:].any()
        assert not made[:, :, 7:].any()
        assert not np.array_equal(made[:, :5], image[:, :5])
        assert not np.array_equal(made[:, 5:10], image[:, 5:10])


def test_a_mate_shows_its_image_in_another_place():
    image = np.zeros((1, 10, 6), np.uint8)
    image[:, 2] = 100
    assert np.flatnonzero(mate_image(image, (10, 6), 0.5)[0, :, 0]).tolist() == [7]


def test_an_even_image_has_mates_that_differ():
    even = np.full((1, 6, 4), 200, np.uint8)
    mates = {mate_image(even, (6, 4), slot / 5).tobytes() for slot in range(1, 5)}
    assert len(mates - {even.tobytes()}) == 4
