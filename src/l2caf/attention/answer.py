"""From what the solver found to the `Attention` that the user gets."""

import numpy as np
import torch
from torch import Tensor

from l2caf.attention.cut import Cut
from l2caf.attention.evidence import Evidence, Trace
from l2caf.attention.following import Verdict
from l2caf.attention.question import Question
from l2caf.attention.result import Attention
from l2caf.attention.solve import Solved
from l2caf.shapes import Flags, Targets
from l2caf.solvers import Certificate, Solution


def attention_of(solved: Solved, undecided: Flags, cut: Cut, question: Question, targets: Targets | None) -> Attention:
    """The answer to a question, from what the solver found.

    Args:
        solved: m rows: inputs of the network major, then runs of the layer, targets minor.
        undecided: (m,), where the uniform filter does as well.
        cut: the network, cut open, and the tail that was solved.
        question: what was asked.
        targets: (m / k, k) classes, alike for the runs of an input; None for maps of no class.

    Returns:
        The attention.
    """
    tail = cut.tail
    solution, runs = solved.solution, tail.n_calls
    b = tail.n_inputs // runs
    maps = (b, -1) if question.runs is None else (b, runs, len(solution.filters) // tail.n_inputs)

    def shaped(values: Tensor) -> Tensor:
        return values.reshape(maps)

    certificates = np.empty(len(solution.filters), dtype=object)
    is_elsewhere = (
        cut.locality.verdict is Verdict.ELSEWHERE
    )  # nothing is proven of a picture that the map does not show
    certificates[:] = [Certificate.ELSEWHERE if is_elsewhere else own for own in solution.certificates]
    axes = tuple(shaped(solution.loss).shape)
    evidence = Evidence(
        certificate=certificates.reshape(axes),
        residual=shaped(solution.residual),
        undecided=shaped(undecided),
        iterations=shaped(solution.iterations),
        solver=solution.solver + (" in float32" if tail.is_widened else ""),
        locality=cut.locality,
        unique=None if solution.unique is None else shaped(solution.unique),
        spread=None if solution.spread is None else shaped(solution.spread),
        start=None if solution.start is None else np.array(solution.start).reshape(axes),
    )
    return Attention(
        filter=solution.filters.reshape(*axes, *tail.grid).to(torch.promote_types(torch.float32, tail.features.dtype)),
        loss=shaped(solution.loss),
        uniform_loss=shaped(solved.uniform_loss),
        target=None if targets is None else targets[::runs],
        output=tail.reference[::runs],
        question=question,
        evidence=evidence,
        inputs=cut.pictures(),
        trace=_trace(solution, axes, tail.grid),
    )


def _trace(solution: Solution, axes: tuple[int, ...], grid: tuple[int, ...]) -> Trace | None:
    """The way of the filters with the axes of the maps, where the solver kept it."""
    if solution.trace is None or solution.trace_loss is None:
        return None
    along = (len(solution.trace), *axes)
    return Trace(solution.trace.reshape(*along, *grid), solution.trace_loss.reshape(along))
