"""The frames that a conversion is checked with."""

from __future__ import annotations

import numpy as np
import pytest

from spinert.export.errors import RecipeError
from spinert.export.golden import golden_images
from spinert.export.recipe import GoldenRecipe, recipe_from_toml

SIZES = ((200, 160), (160, 200), (200, 160), (96, 240))
RECIPE = """
name = "a"
version = "1"
preset = "vindr"

[[classifier]]
architecture = "densenet121"
checkpoint = "untrained:1"

[detector]
architecture = "retinanet_r50_fpn"
checkpoint = "untrained:1"

[golden]
images = "{images}"
"""


@pytest.mark.parametrize("images", ["patterns", "phantoms"])
def test_frames_have_the_wanted_sizes_and_are_always_the_same(images) -> None:
    recipe = GoldenRecipe(sizes=SIZES, images=images)
    first, again = golden_images(recipe), golden_images(recipe)
    assert [frame.stored.shape for frame in first] == list(SIZES)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.stored, other.stored)
        assert one.stored.dtype == np.uint16
        assert int(one.stored.max()) < 2**one.bits_stored
        assert one.stored.std() > 0


def test_phantoms_and_patterns_are_different_images() -> None:
    frames = [
        golden_images(GoldenRecipe(sizes=SIZES, images=images))[0].stored
        for images in ("patterns", "phantoms")
    ]
    assert not np.array_equal(*frames)


def test_a_recipe_chooses_what_is_drawn(tmp_path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(images="phantoms"))
    assert recipe_from_toml(path).golden.images == "phantoms"
    path.write_text(RECIPE.format(images="photographs"))
    with pytest.raises(RecipeError, match="golden: images is one of patterns"):
        recipe_from_toml(path)
