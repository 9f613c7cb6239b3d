"""One table of methods: each has a name, is made for one network, and turns a network cut open into maps.

A method is made by `factory(model, layer, output)` and called as `method(cut, targets)`. It says itself whether it
needs a class. `METHODS` knows the factories by name; `METHODS.lines()` says of each in a line what it is. A method of
your own is entered with `@METHODS.register("name")`, or named as `package.module:factory` without being entered.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from l2caf.attention import Cut
from l2caf.attention.output import OutputChoice
from l2caf.errors import DataError, TargetError
from l2caf.registry import Registry
from l2caf.shapes import Targets

Maps = Float[Tensor, " b *maps_and_grid"]  # (b, k, *grid), or (b, s, k, *grid) for each of s runs or frames


@runtime_checkable
class Method(Protocol):
    """What finds maps in a network that is cut open, so that several methods share one pass of it."""

    @property
    def needs_class(self) -> bool:
        """Whether the maps are of a class; a method of the whole output explains embeddings, too."""

    def __call__(self, cut: Cut, targets: Targets | None) -> Maps:
        """Non-negative maps of b inputs and k classes.

        Args:
            cut: the network, still open (`L2CAF.cut`).
            targets: classes (b, k); None is allowed for a method that needs no class, which then gives k = 1 map.

        Returns:
            Maps (b, k, *grid), or (b, s, k, *grid) where each of s runs of the layer has its own, on any device. The
            grid may be another than the layer's.
        """


Factory = Callable[[nn.Module, str | None, OutputChoice], Method]
METHODS = Registry[Factory]("method", DataError)


@dataclass(frozen=True, slots=True)
class OfClass:
    """A method that has a map for each class.

    Attributes:
        explain: finds the maps (b, k, *grid) of classes (b, k).
    """

    explain: Callable[[Cut, Targets], Maps]
    needs_class: ClassVar[bool] = True

    def __call__(self, cut: Cut, targets: Targets | None) -> Maps:
        """The maps, one for each class; raises `TargetError` without classes."""
        if targets is None:
            raise TargetError("this method explains a class; got None, expected classes (b, k)")
        return self.explain(cut, targets)


@dataclass(frozen=True, slots=True)
class OfOutput:
    """A method that explains the whole output with one map, whatever the class.

    Attributes:
        explain: finds the maps (b, 1, *grid).
    """

    explain: Callable[[Cut], Maps]
    needs_class: ClassVar[bool] = False

    def __call__(self, cut: Cut, targets: Targets | None) -> Maps:
        """The map, repeated for each class where classes are given."""
        maps = self.explain(cut)
        if targets is None:
            return maps
        axis = 1 if cut.calls is None else 2  # behind the runs of the layer, where each has its own map
        return maps.expand(*maps.shape[:axis], targets.shape[1], *maps.shape[axis + 1 :])


def make(name: str, model: nn.Module, layer: str | None = None, output: OutputChoice = None) -> Method:
    """One method, for one network.

    Args:
        name: a name in `METHODS`, `LIBRARY:NAME` for a method of another library, or `package.module:factory`.
        model: the network.
        layer: the layer to look at; None for the last one that reaches the output.
        output: which part of the network's output to explain, as for `L2CAF`.

    Returns:
        The method.

    Raises:
        DataError: if there is no such method, or it does not fit the network.
    """
    factory = METHODS[name]
    method = factory(model, layer, output) if callable(factory) else factory
    if not hasattr(method, "needs_class"):
        raise DataError(
            f"{name!r} gives {type(method).__name__}, which does not say whether it needs a class; expected a function "
            "(model, layer, output) that returns l2caf.methods.OfClass, OfOutput, or a callable with `needs_class`"
        )
    return method


def methods(
    names: Iterable[str], model: nn.Module, layer: str | None = None, output: OutputChoice = None
) -> dict[str, Method]:
    """Several methods by name, for one network; arguments and errors are those of `make`."""
    return {name: make(name, model, layer, output) for name in names}
