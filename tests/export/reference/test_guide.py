"""What a classifier's features have to tell in training."""

from __future__ import annotations

import torch

from spinert.export.networks.densenet import DENSENET121, DenseNet
from spinert.export.reference.assignment import BACKGROUND, LEFT_OUT
from spinert.export.reference.frames import NO_BOX
from spinert.export.reference.guide import Guide, cell_classes


def table(boxes: list[list[float]], labels: list[int]) -> torch.Tensor:
    found = cell_classes(torch.tensor([boxes]), torch.tensor([labels]), 64, 4)
    return found.view(4, 4)


def test_a_small_lesion_is_told_by_the_cell_that_holds_its_centre() -> None:
    found = table([[10.0, 36.0, 20.0, 46.0]], [5])
    expected = torch.full((4, 4), BACKGROUND)
    expected[2, 0] = 5  # its centre is at x 15, y 41
    expected[2, 1] = LEFT_OUT
    assert torch.equal(found, expected)


def test_a_large_lesion_is_told_by_every_cell_whose_centre_it_holds() -> None:
    found = table([[5.0, 5.0, 45.0, 30.0]], [2])
    expected = torch.full((4, 4), BACKGROUND)
    expected[:2, :3] = 2
    assert torch.equal(found, expected)


def test_rows_without_a_lesion_say_nothing() -> None:
    found = table([[5.0, 5.0, 45.0, 30.0]], [NO_BOX])
    assert bool((found == BACKGROUND).all())


def test_a_guided_network_says_what_it_says_alone() -> None:
    torch.manual_seed(1)
    network = DenseNet(DENSENET121, final_relu=True).eval()
    guide = Guide(network, 7)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = guide(network, x)
        assert torch.equal(logits.frame, network(x))
    assert [tuple(map_.shape) for map_ in logits.cells] == [(2, 16, 7), (2, 4, 7)]


def test_cells_are_read_row_by_row() -> None:
    torch.manual_seed(1)
    network = DenseNet(DENSENET121, final_relu=False).eval()
    guide = Guide(network, 7)
    x = torch.zeros(1, 3, 256, 256)
    changed = x.clone()
    changed[..., 0:16, 240:256] = 5.0  # the top right cell of 16 pixels
    with torch.no_grad():
        before, after = (guide(network, each).cells[0] for each in (x, changed))
    moved = (after - before).abs().sum(-1)[0]
    assert int(moved.argmax()) == 15
