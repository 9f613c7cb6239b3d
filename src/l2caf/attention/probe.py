"""One input that stands for all inputs of its shape."""

import itertools
import math
from typing import Final

import torch
from torch import Tensor, nn

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
    first = inputs.first()
    generator = torch.Generator().manual_seed(PROBE_SEED)
    pictures, numbers = {number: inputs.tensors()[number] for number in inputs.pictures()}, itertools.count()

    def noise(tensor: Tensor) -> Tensor:
        picture = pictures.get(next(numbers))
        return tensor if picture is None else _noise(tensor, picture, generator)

    probe = first.map(noise)
    try:
        is_answered = bool(torch.isfinite(read(probe.call(model))).all())
    except Exception:  # noqa: BLE001  (a network may refuse noise with whatever it likes)
        is_answered = False
    return probe if is_answered else first


def _noise(first: Tensor, batch: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise like one picture, as large as the pictures of its batch are."""
    largest = float(batch.abs().amax())
    scale = 2.0 ** math.ceil(math.log2(largest)) if 1 < largest < math.inf else 1.0
    lowest = -scale if float(batch.amin()) < 0 else 0.0
    if batch.dtype == torch.uint8:
        lowest, scale = 0.0, 255.0
    values = torch.empty(first.shape).uniform_(lowest, scale, generator=generator)
    return torch.empty_like(first).copy_(values)
