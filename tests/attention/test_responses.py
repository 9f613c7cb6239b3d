"""Inputs of which one half is drawn anew."""

import torch

from l2caf.attention.responses import half_drawn_anew
from l2caf.tail import Inputs


def test_one_half_is_drawn_anew_from_the_values_of_the_tensor_and_of_all_tensors_like_it() -> None:
    picture, other = torch.rand(1, 3, 5, 4), torch.rand(1, 3, 5, 4)
    text = torch.arange(7)
    inputs = Inputs((text, picture), {"other": other, "small": torch.rand(1, 3, 2, 2)})
    for half, kept in ((0, slice(2, 5)), (1, slice(0, 3))):
        drawn = half_drawn_anew(inputs, (1, 2), half, torch.Generator().manual_seed(0))
        new = slice(0, 2) if half == 0 else slice(3, 5)
        for before, after in ((picture, drawn.args[1]), (other, drawn.kwargs["other"])):
            assert torch.equal(after[:, :, kept], before[:, :, kept])
            assert not torch.equal(after[:, :, new], before[:, :, new])
            assert bool(torch.isin(after, before).all())
        assert drawn.args[0] is text
        assert drawn.kwargs["small"] is inputs.kwargs["small"]


def test_a_picture_of_one_colour_changes_too() -> None:
    drawn = half_drawn_anew(Inputs((torch.ones(1, 1, 4, 4),)), (0, 3), 1, torch.Generator().manual_seed(0))
    assert bool((drawn.args[0][..., 2:] != 1).any())
    assert bool((drawn.args[0][..., :2] == 1).all())
