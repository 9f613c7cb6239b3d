"""Adversarial complementary learning (ACoL): two heads of which the second sees what the first does not look at.

Where the first head's map of the true class reaches a threshold, the features are erased before they go to the second,
which so has to find other parts of the object. A picture's map is the larger of the two heads' maps at each position.

Reference: Zhang et al., Adversarial Complementary Learning for Weakly Supervised Object Localization, CVPR 2018.
"""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from l2caf.errors import ModelError

THRESHOLD: Final = 0.6  # as in the authors' code; wsolevaluation takes 0.7

Map = Float[Tensor, "b h w"]


class ACoL(nn.Module):
    """A trunk with two adversarial heads of three convolutions, each averaged to logits.

    Attributes:
        features: the trunk.
        first: the head that makes score maps (b, n, h, w) of the features.
        second: the head that makes score maps of the features without what the first head looks at.
    """

    def __init__(
        self, features: nn.Sequential, channels: int, n_classes: int, *, width: int = 1024, threshold: float = THRESHOLD
    ) -> None:
        """Put heads on a trunk.

        Args:
            features: the trunk, from pictures (b, 3, H, W) to features (b, channels, h, w).
            channels: the number of channels of the trunk's output.
            n_classes: the number of logits.
            width: the number of channels inside the heads.
            threshold: features are erased where the first head's map, in [0, 1], reaches this value.

        Raises:
            ModelError: if the threshold is out of range.
        """
        super().__init__()
        if not 0 < threshold <= 1:
            raise ModelError(f"threshold={threshold}: expected a share in (0, 1]")
        self.features = features
        self.first = _head(channels, width, n_classes)
        self.second = _head(channels, width, n_classes)
        self.threshold = threshold

    def forward(
        self, x: Float[Tensor, "b 3 H W"], target: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b n"] | Float[Tensor, "2 b n"]:
        """The first head's logits; with the true classes, those of both heads.

        Args:
            x: the pictures.
            target: each picture's class; the features that its map covers are erased.

        Returns:
            Logits (b, n), or (2, b, n) if `target` is given.
        """
        if target is None:
            return self._logits(self.first(self.features(x)))
        return torch.stack([self._logits(scores) for scores in self.scores(x, target)])

    def scores(
        self, x: Float[Tensor, "b 3 H W"], target: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b n h w"], Float[Tensor, "b n h w"]]:
        """Both heads' score maps.

        Args:
            x: the pictures.
            target: each picture's class; the features that its map covers are erased for the second head.

        Returns:
            The score maps of the first head and those of the second.
        """
        features = self.features(x)
        first = self.first(features)
        return first, self.second(erased(features, of_class(first, target), self.threshold))

    def fused(self, x: Float[Tensor, "b 3 H W"], target: Int[Tensor, " b"]) -> Map:
        """ACoL's own localisation map.

        Args:
            x: the pictures.
            target: each picture's class.

        Returns:
            Maps (b, h, w) in [0, 1]: at each position, the larger of the two heads' min-max maps.

        Source:
            Zhang et al. 2018, Section 3.2.
        """
        first, second = (of_class(scores, target) for scores in self.scores(x, target))
        return fuse(first, second)

    def _logits(self, scores: Float[Tensor, "b n h w"]) -> Float[Tensor, "b n"]:
        return scores.mean(dim=(2, 3))


def _head(channels: int, width: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, n_classes, 1),
    )  # fmt: skip


def of_class(scores: Float[Tensor, "b n h w"], target: Int[Tensor, " b"]) -> Map:
    """Each picture's score map of its class."""
    return scores[torch.arange(len(scores), device=scores.device), target]


def erased(features: Float[Tensor, "b c h w"], heat: Map, threshold: float) -> Float[Tensor, "b c h w"]:
    """Features without what a map looks at.

    Args:
        features: the features of a trunk.
        heat: one map for each picture, in any range.
        threshold: a position is erased where the min-max map reaches this value, in [0, 1].

    Returns:
        The features with zeros at erased positions. No gradient flows through the choice of positions.
    """
    kept = minmax(heat.detach()) < threshold
    return features * kept[:, None]


def fuse(first: Map, second: Map) -> Map:
    """The larger of two maps at each position, each brought to [0, 1] before."""
    return torch.maximum(minmax(first), minmax(second))


def minmax(heat: Map) -> Map:
    """Each map moved and scaled to [0, 1]; zeros where it is constant."""
    low, high = heat.amin((1, 2), keepdim=True), heat.amax((1, 2), keepdim=True)
    return (heat - low) / (high - low).clamp_min(torch.finfo(heat.dtype).tiny)
