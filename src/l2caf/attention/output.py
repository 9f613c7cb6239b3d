"""From whatever a network returns to one row of numbers per input."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from l2caf.errors import OutputError, nearest

OutputChoice = str | int | Callable[[Any], Tensor] | None


def output_reader(choice: OutputChoice) -> Callable[[Any], Float[Tensor, "b n"]]:
    """A function that takes a network's output to (b, n).

    Args:
        choice: None where the network returns a tensor; an index into a tuple or list; a key of a mapping or name of
            an attribute; or a function from the output to a tensor.

    Returns:
        The function. It flattens all axes behind the batch, and raises `OutputError` where the choice does not fit
        what the network returned, naming what there was.
    """

    def read(output: Any) -> Float[Tensor, "b n"]:
        chosen = _chosen(output, choice)
        if not isinstance(chosen, Tensor):
            raise OutputError(f"the network returned {_described(chosen)}, expected a tensor; {_ADVICE}")
        if not chosen.is_floating_point() or chosen.dim() == 0:
            raise OutputError(
                f"the network's output is {chosen.dtype} of shape {tuple(chosen.shape)}, expected floats (b, ...); "
                + _ADVICE
            )
        return chosen.flatten(1) if chosen.dim() > 1 else chosen.unsqueeze(1)

    return read


_ADVICE = "say which part to explain with `output=` (an index, a key, or a function)"


def _chosen(output: Any, choice: OutputChoice) -> Any:
    if choice is None:
        return output
    if callable(choice):
        return choice(output)
    if isinstance(choice, str) and not isinstance(output, Mapping) and hasattr(output, choice):
        return getattr(output, choice)
    try:
        return output[choice]
    except (LookupError, TypeError) as error:
        hint = nearest(choice, output) if isinstance(choice, str) and isinstance(output, Mapping) else ""
        raise OutputError(f"the network's output has no {choice!r}: it returned {_described(output)}{hint}") from error


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with keys {', '.join(map(repr, output))}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)} ({', '.join(type(part).__name__ for part in output)})"
    return f"a {type(output).__name__}"
