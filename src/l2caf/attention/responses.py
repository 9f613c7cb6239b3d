"""How far the features of every place move when a part of the picture is drawn anew."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from l2caf.attention.discovery import Candidate, FoundCall
from l2caf.guard import Args, Kwargs, genuine_call
from l2caf.layouts import Proposal, Row
from l2caf.tail import Inputs
from l2caf.tail.trees import tensors_in

Axis = tuple[int, int]  # a tensor of the inputs, and one of its axes
Responses = dict[tuple[int | None, Axis], tuple[list[Tensor], list[Tensor]]]  # by feature axis; one a draw, each half


def half_drawn_anew(one: Inputs, axis: Axis, half: int, generator: torch.Generator) -> Inputs:
    """An input with one half along an axis of a tensor drawn anew, and of all tensors of the same shape.

    Args:
        one: the input.
        axis: which tensor, and which of its axes.
        half: 0 for the first half, 1 for the second; what lies in the middle of an odd axis stays.
        generator: what draws the numbers, from the tensor's own values, so that they are such as the network takes.

    Returns:
        Another input.
    """
    part, along = axis
    like = one.tensors()[part]

    def changed(tensor: Tensor) -> Tensor:
        if tensor.shape != like.shape or tensor.dtype != like.dtype:
            return tensor
        size = tensor.shape[along]
        place = slice(0, size // 2) if half == 0 else slice(size - size // 2, size)
        drawn = tensor.clone()
        part_of_it = drawn[(*(slice(None),) * along, place)]
        places = torch.randint(tensor.numel(), part_of_it.shape, generator=generator).to(tensor.device)
        values = tensor.flatten()[places]
        is_constant = torch.equal(values, part_of_it)
        part_of_it.copy_(
            torch.rand(values.shape, generator=generator) + tensor.flatten()[0].cpu() if is_constant else values
        )
        return drawn

    return one.map(changed)


@dataclass(slots=True)
class Moves:
    """Answers the module calls of a pass of a changed input, and notes how far the features of each place moved."""

    runs: dict[tuple[nn.Module, int], FoundCall]
    responses: dict[Candidate, Responses]
    axis: Axis
    half: int
    counts: dict[nn.Module, int] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """What the module returns."""
        output = genuine_call(module, args, kwargs)
        count = self.counts[module] = self.counts.get(module, -1) + 1
        call = self.runs.get((module, count))
        if call is not None:
            tensors = tensors_in(output)
            for candidate in call.candidates:
                if candidate.part < len(tensors) and tuple(tensors[candidate.part].shape) == candidate.shape:
                    self._note(candidate, tensors[candidate.part])
        return output

    def _note(self, candidate: Candidate, tensor: Tensor) -> None:
        of = self.responses.setdefault(candidate, {})
        for channels, features in candidate.features.items():
            moved = candidate.sample(tensor, channels).float() - features
            response = moved.abs_().sum(dim=-1 if channels is None else channels, keepdim=True)
            of.setdefault((channels, self.axis), ([], []))[self.half].append(response.cpu())


def positions(proposed: Proposal | Row, response: Tensor) -> np.ndarray:
    """The responses of the positions of a layout, or of all tokens of a row."""
    if isinstance(proposed, Proposal) and proposed.channels is not None:
        response = proposed.layout.vectors(response)
    return response.flatten().numpy()
