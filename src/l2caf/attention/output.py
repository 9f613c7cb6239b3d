"""From whatever a network returns to one row of numbers per input."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Bool, Float
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


def over_region(mask: Bool[Tensor, "h w"], part: str | int | None = None) -> Callable[[Any], Float[Tensor, "b n"]]:
    """For `output=`: a segmentation network's scores, averaged over a region.

    Args:
        mask: the region, in the network's output; at least one pixel.
        part: where the maps (b, n, h, w) are in what the network returns, such as `"out"`.

    Returns:
        A function to (b, n): class-specific maps then show what makes the region a class.

    Raises:
        OutputError: if the region is empty; from the function, if it does not fit the network's output.
    """
    if not bool(mask.any()):
        raise OutputError("the region is empty; expected a mask (h, w) with at least one pixel")

    def averaged(output: Any) -> Float[Tensor, "b n"]:
        maps = _chosen(output, part)
        shape = tuple(getattr(maps, "shape", ()))
        if len(shape) != 4 or shape[2:] != mask.shape:
            found, size = shape or _described(maps), f"{mask.shape[0]}, {mask.shape[1]}"
            raise OutputError(f"the network returned {found}, expected maps (b, n, {size})")
        inside = mask.to(maps)
        return (maps * inside).sum((2, 3)) / inside.sum()

    return averaged


_ADVICE = "say which part to explain with `output=` (an index, a key, or a function)"


def _chosen(output: Any, choice: OutputChoice) -> Any:
    if choice is None:
        return output
    if callable(choice):
        return choice(output)
    try:
        return output[choice]
    except (LookupError, TypeError) as error:
        keys = list(output) if isinstance(output, Mapping) else None
        if keys is None and hasattr(output, str(choice)):  # a dataclass or a named tuple
            return getattr(output, str(choice))
        hint = nearest(str(choice), map(str, keys)) if keys else ""
        raise OutputError(f"the network's output has no {choice!r}: it returned {_described(output)}{hint}") from error


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with keys {', '.join(map(repr, output))}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)} ({', '.join(type(part).__name__ for part in output)})"
    return f"a {type(output).__name__}"
