"""Small networks that fuse the frames of a clip, each fed in three ways, and clips for them."""

from typing import Literal

import torch
from tests.support import networks
from torch import Tensor, nn

Feeding = Literal["by input", "by frame", "one by one"]
FEEDINGS: tuple[Feeding, ...] = ("by input", "by frame", "one by one")
HEADS = ("lstm", "gru", "mean", "transformer")


class Fusing(nn.Module):
    """A CNN on every frame, fused in time."""

    def __init__(self, head: str, feeding: Feeding = "by input") -> None:
        super().__init__()
        self.feeding = feeding
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.fuse = Head(head)

    def forward(self, clip: Tensor) -> Tensor:
        b, t = clip.shape[:2]
        if self.feeding == "one by one":
            return self.fuse(torch.stack([self.trunk(frame).mean((2, 3)) for frame in clip.unbind(1)], dim=1))
        if self.feeding == "by frame":
            maps = self.trunk(clip.transpose(0, 1).flatten(0, 1)).unflatten(0, (t, b)).transpose(0, 1)
        else:
            maps = self.trunk(clip.flatten(0, 1)).unflatten(0, (b, t))
        return self.fuse(maps.mean((3, 4)))


class Head(nn.Module):
    """(b, t, 8) to (b, 5)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind in {"lstm", "gru"}:
            self.core: nn.Module = (nn.LSTM if kind == "lstm" else nn.GRU)(8, 8, batch_first=True)
        elif kind == "transformer":
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            self.core = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        else:
            self.core = nn.Identity()
        self.last = nn.Linear(8, 5)

    def forward(self, steps: Tensor) -> Tensor:
        if self.kind in {"lstm", "gru"}:
            return self.last(self.core(steps)[0][:, -1])
        return self.last(self.core(steps).mean(1))


def fusing(head: str, feeding: Feeding = "by input") -> nn.Module:
    """The network with seeded weights, the same for every way of feeding it."""
    return networks.seeded(Fusing(head, feeding))


def clips(b: int = 2, t: int = 3, size: int = 16) -> Tensor:
    """Random clips (b, t, 3, size, size)."""
    return torch.randn(b, t, 3, size, size, generator=torch.Generator().manual_seed(1))
