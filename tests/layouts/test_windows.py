"""Maps cut into windows, against the way in which Swin's own code cuts them."""

import pytest
import torch

from l2caf.errors import LayoutError
from l2caf.layouts import WindowRows, Windows


@pytest.mark.parametrize("shift", [0, 1])
def test_windows_are_cut_from_a_rolled_grid(shift: int) -> None:
    plain = torch.randn(2, 4, 6, 5)
    rolled = plain.roll((-shift, -shift), (1, 2))
    windows = rolled.view(2, 2, 2, 3, 2, 5).transpose(2, 3).reshape(2 * 6, 4, 5)  # as Swin's own code cuts them
    layout = Windows(WindowRows((4, 6), (2, 2), (shift, shift)))
    assert layout.grid(windows) == (4, 6)
    assert torch.equal(layout.vectors(windows), plain.flatten(1, 2))
    assert torch.equal(layout.join(layout.split(windows)), windows)
    filters = torch.randn(2, 24)
    assert torch.equal(layout.vectors(layout.apply(windows, filters)), plain.flatten(1, 2) * filters[..., None])
    for features in (windows[:5], windows[:, :3]):
        with pytest.raises(LayoutError, match="does not hold 4x6 in windows of 2x2"):
            layout.grid(features)
