"""The response of an affine tail: FT(f) = c + J f, or of one that is affine on either side of 0.

Where a ReLU is the first thing after the layer, each position answers to a positive weight with one column and to a
negative weight with another: FT(f) = c + J_above max(f, 0) + J_below min(f, 0). DenseNets end so. An affine tail is
the case in which both are the same.

J[:, p] is what the tail answers to position p alone. Two ways to get it:

1. *Positions as pictures.* A tail that treats positions alike and averages them (global average pooling, then
   anything affine) answers a map made of position p only, on a grid of one, with `c + p J[:, p]`. All positions
   of all inputs go through the tail in one pass the size of a 1x1 convolution. It is a guess; `J 1 = NT - c`
   confirms or refutes it.
2. *One-hot filters*: one row of the tail per position, for every other affine tail; or a backward pass per component of
   the output, where these are fewer.

Whether the tail is affine is tested before (`is_affine`), and each solution is checked against the tail itself.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from l2caf.shapes import Outputs, Rows
from l2caf.tail.replay import Tail

AFFINE_RTOL: Final = 1e-4  # of what the filter changes: float32 sums over up to a few thousand channels
NOISE_EPS: Final = 16  # units in the last place of the whole output, which carries the offset's rounding too
OUTPUTS_AT_ONCE: Final = 32  # backward passes batched together; more only costs memory
PROBE_SEED: Final = 20200720  # any fixed number: probes must be the same in every run


def rounding_of(tail: Tail, response: Float[Tensor, " r"], size: Float[Tensor, " r"]) -> Float[Tensor, " r"]:
    """Error (L2 norm) to expect of the tail's arithmetic where it is affine.

    Args:
        tail: gives the dtype.
        response: (r,) norm of what the filter changes, `||FT(f) - FT(0)||`. Affinity is judged against this and not
            against the whole output: a tail whose offset dwarfs its response must not pass for affine.
        size: (r,) norm of the outputs themselves.

    Returns:
        (r,), in units of the output.
    """
    eps = torch.finfo(tail.reference.dtype).eps
    return max(AFFINE_RTOL, 8 * eps) * response + NOISE_EPS * eps * size


def probe_filters(tail: Tail) -> Float[Tensor, " p"]:
    """One fixed random filter with weights of both signs, N(0, 1), the same for every input."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    return torch.randn(tail.n_positions, generator=generator).to(tail.features.device)


def is_odd(tail: Tail) -> Bool[Tensor, " b"]:
    """Which inputs' tails answer to a filter of -1 as they do to 1, turned over: `FT(1) + FT(-1) = 2 FT(0)`.

    Args:
        tail: the tail.

    Returns:
        (b,) booleans; one pass tells most tails that are not affine.
    """
    above, below, zero = (tail.constant(weight).double() for weight in (1.0, -1.0, 0.0))
    defect = (above + below - 2 * zero).norm(dim=1)
    response = (above - zero).norm(dim=1) + (below - zero).norm(dim=1)
    return defect <= rounding_of(tail, response, above.norm(dim=1) + below.norm(dim=1) + 2 * zero.norm(dim=1))


def is_straight(tail: Tail) -> Bool[Tensor, " b"]:
    """Which inputs' tails answer to a filter of 1/2 half of what they answer to 1: `FT(0) + FT(1) = 2 FT(1/2)`.

    Args:
        tail: the tail.

    Returns:
        (b,) booleans; one pass tells most tails that are affine on neither side of 0.
    """
    zero, half, whole = (tail.constant(weight).double() for weight in (0.0, 0.5, 1.0))
    defect = (zero + whole - 2 * half).norm(dim=1)
    response = (whole - zero).norm(dim=1) + 2 * (half - zero).norm(dim=1)
    return defect <= rounding_of(tail, response, zero.norm(dim=1) + whole.norm(dim=1) + 2 * half.norm(dim=1))


def is_affine(tail: Tail) -> Bool[Tensor, " b"]:
    """Which inputs have an affine tail, tested by oddness and by `FT(r) + FT(1 - r) = FT(0) + FT(1)` at a random r.

    Args:
        tail: the tail.

    Returns:
        (b,) booleans.
    """
    odd = is_odd(tail)
    if not bool(odd.any()):
        return odd
    random = probe_filters(tail)
    filters = torch.stack([random, 1 - random]).repeat_interleave(tail.n_inputs, dim=0)
    with torch.no_grad():
        answers = tail(filters, tail.all_rows().repeat(2)).double().unflatten(0, (2, tail.n_inputs))
    zero, whole = tail.constant(0.0).double(), tail.reference.double()
    defect = (answers.sum(0) - zero - whole).norm(dim=1)
    response = (answers - zero).norm(dim=2).sum(0) + (whole - zero).norm(dim=1)
    size = answers.norm(dim=2).sum(0) + zero.norm(dim=1) + whole.norm(dim=1)
    return odd & (defect <= rounding_of(tail, response, size))


@dataclass(frozen=True)
class AffineResponse:
    """c and J of an affine tail, or of one side of it, computed when asked for.

    Attributes:
        tail: a tail that is affine for filters of one sign at least.
        side: 1.0 for filters without negative weights, -1.0 for filters without positive ones.
    """

    tail: Tail
    side: float = 1.0

    @property
    def offset(self) -> Outputs:
        """C = FT(0), (b, n)."""
        return self.tail.constant(0.0)

    def pullback(self, cotangent: Float[Tensor, "b k n"]) -> Float[Tensor, "b k p"]:
        """J^T s for every input and each of its k output weightings: one backward pass of the tail.

        Args:
            cotangent: s, in the dtype of the network's output.

        Returns:
            (b, k, p), float32 or wider.
        """
        limit = self.tail.rows_at_once
        parts = zip(self.tail.all_rows().split(limit), cotangent.split(limit), strict=True)
        return torch.cat([self._pull(rows, part) for rows, part in parts])

    def _pull(self, rows: Rows, cotangent: Float[Tensor, "r k n"]) -> Float[Tensor, "r k p"]:
        with torch.enable_grad():
            ones = torch.full((len(rows), self.tail.n_positions), self.side, device=rows.device, requires_grad=True)
            outputs = self.tail(ones, rows)
            many = cotangent.shape[1] > 1
            weights = cotangent.transpose(0, 1) if many else cotangent.squeeze(1)
            (gradient,) = torch.autograd.grad(outputs, ones, weights.to(outputs.dtype), is_grads_batched=many)
        return gradient.transpose(0, 1) if many else gradient.unsqueeze(1)

    @cached_property
    def jacobian(self) -> Float[Tensor, "b n p"]:
        """J in the dtype of the network's output."""
        if self.pooled_jacobian is not None:
            return self.pooled_jacobian
        n = self.offset.shape[1]
        return self._one_hot() if n >= self.tail.n_positions else self._by_outputs(n)

    @cached_property
    def pooled_jacobian(self) -> Float[Tensor, "b n p"] | None:
        """J by positions as pictures; None where the tail does not average over positions."""
        with torch.no_grad():
            guess = self._positions_as_pictures()
            return guess if guess is not None and self._explains_whole(guess) else None

    def _positions_as_pictures(self) -> Float[Tensor, "b n p"] | None:
        tail = self.tail
        if tail.keep != "shapes" or not tail.slots.is_single:
            return None
        maps = tail.layout.single(tail.features)
        if maps is None:
            return None
        try:
            singles = self.side * maps
            answers = tail.through(singles, torch.zeros(len(singles), dtype=torch.long, device=singles.device))
        except (RuntimeError, ValueError, TypeError, LookupError):  # the tail wants its own grid
            return None
        if len(answers) != tail.n_inputs * tail.n_positions or answers.shape[1:] != self.offset.shape[1:]:
            return None
        answers = answers.unflatten(0, (tail.n_inputs, tail.n_positions))
        return (self.side * (answers - self.offset.unsqueeze(1)) / tail.n_positions).transpose(1, 2)

    def _explains_whole(self, jacobian: Float[Tensor, "b n p"]) -> bool:
        """Whether the columns add up to the tail's answer to the constant filter of this side."""
        whole = self.tail.constant(self.side)
        response = (whole - self.offset).double().norm(dim=1)
        size = whole.double().norm(dim=1)
        defect = (self.side * jacobian.sum(-1) + self.offset - whole).double().norm(dim=1)
        return bool((defect <= rounding_of(self.tail, response, size)).all())

    def _by_outputs(self, n: int) -> Float[Tensor, "b n p"]:
        eye = torch.eye(n, device=self.offset.device, dtype=self.offset.dtype).expand(self.tail.n_inputs, -1, -1)
        return torch.cat([self.pullback(part) for part in eye.split(OUTPUTS_AT_ONCE, dim=1)], dim=1)

    def _one_hot(self) -> Float[Tensor, "b n p"]:
        tail = self.tail
        rows = tail.all_rows()
        with torch.no_grad():
            eye = self.side * torch.eye(tail.n_positions, device=rows.device)
            columns = [self.side * (tail(one.expand(tail.n_inputs, -1), rows) - self.offset) for one in eye]
        return torch.stack(columns, dim=-1)
