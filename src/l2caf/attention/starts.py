"""Where a search for the filters of a tail may start."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.attention.formulate import TailProblem, tangent
from l2caf.problem import Constraint
from l2caf.shapes import Filters
from l2caf.tail import Tail


class TailStarts(Mapping[str, Filters]):
    """Where a search may start, by name; what costs a pass of the tail is computed when it is read."""

    def __init__(self, problem: TailProblem, constraint: Constraint) -> None:
        self._problem = problem
        self._uniform = uniform_filters(problem.tail, constraint)[problem.inputs]
        self._makers: dict[str, Callable[[], Filters]] = {"uniform": lambda: self._uniform, "energy": self._energy}
        weights = problem.goal.direction()
        if weights is not None:
            self._makers["tangent"] = partial(self._tangent, weights)

    def __getitem__(self, name: str) -> Filters:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def _energy(self) -> Filters:
        """The norms ||A_p||_2 of the features at every position: where there is most to keep."""
        tail = self._problem.tail
        energy = tail.layout.vectors(tail.features).float().norm(dim=-1)
        return energy[self._problem.inputs].to(self._uniform)

    def _tangent(self, weights: Float[Tensor, "all n"]) -> Filters:
        """The filter -J^T s at the filter of ones, which is Grad-CAM's."""
        return -tangent(self._problem.tail, weights)[self._problem.problems].to(self._uniform)


def uniform_filters(tail: Tail, constraint: Constraint) -> Float[Tensor, "b p"]:
    """The filter that prefers no position (for a Gaussian, the centred one), for every input, in float32 or wider."""
    dtype = torch.promote_types(torch.float32, tail.features.dtype)
    ones = torch.ones(tail.n_inputs, tail.n_positions, device=tail.features.device, dtype=dtype)
    return constraint.filters(constraint.parameters(ones))
