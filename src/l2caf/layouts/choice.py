"""What a user says about where space is in a feature map."""

import inspect
from collections.abc import Callable
from functools import partial

from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts.base import Layout
from l2caf.layouts.grids import LAYOUTS

FindLayout = Callable[[Tensor], Layout | None]
LayoutChoice = str | Layout | FindLayout


def given_layout(choice: LayoutChoice) -> FindLayout | None:
    """What a user said about space, as a function from feature map to layout.

    Args:
        choice: `"auto"`, a name, a layout, or such a function.

    Returns:
        The function; None for `"auto"`.

    Raises:
        LayoutError: if no layout has that name, or `choice` is none of these.
    """
    if choice == "auto":
        return None
    if isinstance(choice, str):
        choice = _named(choice)
    if isinstance(choice, Layout):
        return partial(_always, choice)
    if inspect.isclass(choice) or not callable(choice):
        raise LayoutError(f"layout={choice!r}; expected 'auto', a name, a layout such as Tokens(grid), or a function")
    return choice


def _always(layout: Layout, features: Tensor) -> Layout:
    del features
    return layout


def _named(name: str) -> Layout:
    try:
        return LAYOUTS[name]
    except LayoutError as error:
        raise LayoutError(f"{error}; or 'auto', or a layout such as Tokens(grid, prefix)") from error
