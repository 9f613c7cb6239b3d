"""The attention-based dropout layer (ADL).

In training, the channels' mean over a feature map makes either a drop mask, which hides the most salient region, or
an importance map, which stresses it; one of the two multiplies the feature map. In evaluation the layer does nothing.

Reference: Choe and Shim, Attention-Based Dropout Layer for Weakly Supervised Object Localization, CVPR 2019.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from l2caf.errors import ModelError

DROP_RATE: Final = 0.75  # Section 4: the drop mask is three times as frequent as the importance map


class ADL(nn.Module):
    """Hides or stresses the salient region in training; the identity in evaluation.

    Example:
        >>> layer = ADL(gamma=0.8).eval()
        >>> layer(torch.ones(1, 2, 3, 3)).sum()
        tensor(18.)
    """

    def __init__(self, gamma: float = 0.9, drop_rate: float = DROP_RATE) -> None:
        """Set the options of the layer.

        Args:
            gamma: a position is salient from this share of the picture's highest mean on, in [0, 1].
            drop_rate: the probability of the drop mask, in [0, 1].

        Raises:
            ModelError: if an option is out of range.
        """
        super().__init__()
        if not (0 <= gamma <= 1 and 0 <= drop_rate <= 1):
            raise ModelError(f"gamma={gamma}, drop_rate={drop_rate}: expected shares in [0, 1]")
        self.gamma, self.drop_rate = gamma, drop_rate

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The feature map times one of the two maps, chosen once for the whole batch (torch's random state)."""
        if not self.training:
            return features
        mean = features.mean(dim=1, keepdim=True)
        if float(torch.rand(())) < self.drop_rate:
            return features * drop_mask(mean, self.gamma)
        return features * importance(mean)

    def extra_repr(self) -> str:
        """The options, as `print` shows them."""
        return f"gamma={self.gamma}, drop_rate={self.drop_rate}"


def drop_mask(mean: Float[Tensor, "b 1 h w"], gamma: float) -> Float[Tensor, "b 1 h w"]:
    """What to keep of a feature map so that its salient region is hidden.

    Args:
        mean: the mean over the feature map's channels.
        gamma: a position is salient from this share of its picture's maximum on.

    Returns:
        A mask (b, 1, h, w): 0 at salient positions, 1 elsewhere. No gradient flows through it.
    """
    top = mean.detach().amax(dim=(2, 3), keepdim=True)
    return (mean.detach() < gamma * top).to(mean.dtype)


def importance(mean: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """How much to stress each position: the sigmoid of the channels' mean, in (0, 1); differentiable."""
    return mean.sigmoid()
