"""One input that stands for all inputs of its shape."""

import math
from typing import Final

import torch
from torch import Tensor, nn

from l2caf.errors import LayoutError
from l2caf.tail import Inputs
from l2caf.tail.replay import ReadOutput

PROBE_SEED: Final = 20200720  # any fixed number: the probe must be the same in every run


def probe_of(model: nn.Module, inputs: Inputs, read: ReadOutput) -> Inputs:
    """One input with noise for its pictures.

    Args:
        model: a borrowed network.
        inputs: a batch. Its pictures matter by their sign and by the next power of two above their largest value
            (at least 1), so that neither their order nor, as a rule, the choice of the batch matters.
        read: takes the network's output to (b, n).

    Returns:
        The probe (a batch of one); the first input where the network raises on noise, or its answer is not finite.

    Raises:
        LayoutError: if there is no tensor, or no input.
    """
    first = first_of(inputs)
    generator = torch.Generator().manual_seed(PROBE_SEED)
    pictures = iter(filter(is_picture, inputs.tensors()))

    def noise(tensor: Tensor) -> Tensor:
        return _noise(tensor, next(pictures), generator) if is_picture(tensor) else tensor

    probe = first.map(noise)
    try:
        is_answered = bool(torch.isfinite(read(probe.call(model))).all())
    except Exception:  # noqa: BLE001  (a network may refuse noise with whatever it likes)
        is_answered = False
    return probe if is_answered else first


def first_of(inputs: Inputs) -> Inputs:
    """The first input of a batch, as a batch of one.

    Args:
        inputs: the batch.

    Returns:
        The same call, with the first row of every tensor that has a row for each input.

    Raises:
        LayoutError: if there is no tensor, or no input.
    """
    tensors = inputs.tensors()
    if not tensors or tensors[0].dim() == 0 or tensors[0].shape[0] == 0:
        raise LayoutError(
            f"inputs hold {'an empty batch' if tensors else 'no tensor'}; expected tensors (b, ...) with b > 0"
        )
    b = tensors[0].shape[0]
    return inputs.map(lambda tensor: tensor[:1] if tensor.dim() and tensor.shape[0] == b else tensor)


def spatial_size(inputs: Inputs) -> tuple[int, ...]:
    """Sizes of the axes behind batch and channels.

    Args:
        inputs: a batch.

    Returns:
        The sizes of the first picture among the inputs.

    Raises:
        LayoutError: if there is none.
    """
    for tensor in inputs.tensors():
        if is_picture(tensor):
            return tuple(tensor.shape[2:])
    shapes = [tuple(tensor.shape) for tensor in inputs.tensors()]
    raise LayoutError(f"inputs of shapes {shapes} have no spatial axes; expected (b, c, ...), or say `layout=`")


def is_picture(tensor: Tensor) -> bool:
    """Whether a tensor among a network's inputs has space: floats of shape (b, c, ...)."""
    return tensor.dim() >= 3 and tensor.is_floating_point()


def _noise(first: Tensor, batch: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise like one picture, as large as the pictures of its batch are."""
    largest = float(batch.abs().amax())
    scale = 2.0 ** math.ceil(math.log2(largest)) if 1 < largest < math.inf else 1.0
    lowest = -scale if float(batch.amin()) < 0 else 0.0
    values = torch.empty(first.shape).uniform_(lowest, scale, generator=generator)
    return torch.empty_like(first).copy_(values)
