"""The paper's Figure 8: a network that embeds a clip.

Features of a frozen CNN, frame by frame, go through a small CNN that is shared by the frames, then through an LSTM
whose last state is projected to an embedding. Filters belong between the two, on `shallow`.

Source: Taha et al., ECCV 2020, Sec. 4.3 and Fig. 8.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS: Final = (32, 8)  # channels of the shallow CNN
STATE: Final = 64  # length of the LSTM's state
DIMENSIONS: Final = 32  # length of an embedding


class ClipEmbedder(nn.Module):
    """A network from clips to embeddings.

    Attributes:
        trunk: the frozen CNN, which takes frames (b * t, 3, h, w); None if clips are given as that CNN's features.
        shallow: the small CNN, which is the last layer with a grid.
    """

    def __init__(
        self, trunk: nn.Module | None = None, *, channels: int = 128, grid: tuple[int, int] = (14, 14)
    ) -> None:
        super().__init__()
        self.trunk = trunk
        if trunk is not None:
            trunk.requires_grad_(requires_grad=False)
        self.shallow = nn.Sequential(
            nn.Conv2d(channels, WIDTHS[0], 3, 1, 1), nn.ReLU(), nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, 1, 1), nn.ReLU()
        )
        self.lstm = nn.LSTM(WIDTHS[1] * grid[0] * grid[1], STATE, batch_first=True)
        self.embedding = nn.Linear(STATE, DIMENSIONS)

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """Embeddings (b, 32), not normalised, of clips: frames (b, t, 3, h, w), or features where there is no trunk."""
        frames = clips.flatten(0, 1)
        if self.trunk is not None:
            with torch.no_grad():
                frames = self.trunk(frames)
        maps = self.shallow(frames).unflatten(0, clips.shape[:2])
        states, _ = self.lstm(maps.flatten(2))
        return self.embedding(states[:, -1])
