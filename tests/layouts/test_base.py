import torch
from torch import Tensor

from l2caf.layouts import Layout


class Columns(Layout):
    """(b, c, w, h): positions column by column."""

    def grid(self, features: Tensor) -> tuple[int, ...]:
        return features.shape[3], features.shape[2]

    def apply(self, features: Tensor, filters: Tensor) -> Tensor:
        return features * filters.unflatten(1, self.grid(features)).mT.unsqueeze(1)

    def vectors(self, features: Tensor) -> Tensor:
        return features.mT.flatten(2).mT


def test_a_layout_of_ones_own_has_one_frame_and_no_grid_of_one_until_it_says_so() -> None:
    layout, features = Columns(), torch.randn(2, 3, 4, 5)
    assert layout.name == "Columns"
    assert layout.frame is layout
    assert (layout.n_frames, layout.has_frames, layout.rows_per_input, layout.is_frame_major) == (1, False, 1, False)
    assert layout.in_order("frame") is layout
    assert layout.single(features) is None


def test_split_and_join_put_the_one_frame_on_an_axis_and_take_it_off_again() -> None:
    layout, features = Columns(), torch.randn(2, 3, 4, 5)
    assert layout.split(features).shape == (2, 1, 3, 4, 5)
    assert torch.equal(layout.join(layout.split(features)), features)
