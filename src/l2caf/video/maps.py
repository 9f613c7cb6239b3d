"""From the attention of clips to one map per frame."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf import pictures
from l2caf.attention import Attention
from l2caf.errors import DataError


def frame_maps(attention: Attention, size: Sequence[int], n_frames: int | None = None) -> Float[Tensor, "b t h w"]:
    """Make a map for each frame of every clip, of its first target.

    Args:
        attention: an attention with a filter per frame (b, t, k, *grid), or one filter over t x h x w.
        size: height and width of the maps.
        n_frames: how many frames a filter over t x h x w stands for; as many as its input by default.

    Returns:
        The maps (b, t, h, w) in [0, 1]. Where every frame has a filter, each map is divided by its own maximum, since
        each filter has its own norm. The frames of one filter are divided by their common maximum, so that they say
        which frame matters.

    Raises:
        DataError: if the attention is of pictures, not clips.
    """
    if len(attention.grid) == 3:
        n = attention.question.input_size[0] if n_frames is None else n_frames
        joint = pictures.resize(attention.filter[:, :1].abs(), (n, *size))
        return pictures.normalized(joint, rank=3)[:, 0]
    if attention.question.runs is None or len(attention.grid) != 2:
        raise DataError(f"a filter on a grid of {attention.grid} has no frames; expected one per frame, or t x h x w")
    return pictures.normalized(pictures.resize(attention.filter[:, :, 0].abs(), tuple(size)))


def frame_shares(attention: Attention) -> Float[Tensor, "b k t"]:
    """Share the squared norm of a filter over t x h x w out among its instants.

    Args:
        attention: the attention of clips with one filter over t x h x w: solved with `joint=True`, or of a network of
            three-dimensional layers.

    Returns:
        The shares (b, k, t), non-negative and of sum 1: how much each instant matters.

    Raises:
        DataError: if filters have no time.
    """
    if len(attention.grid) != 3:
        raise DataError(f"a filter on a grid of {attention.grid} has no time; solve with joint=True")
    energy = attention.filter.square().flatten(3).sum(-1)
    return energy / energy.sum(-1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
