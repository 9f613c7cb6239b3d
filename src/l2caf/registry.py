"""Names for things of one kind, in one table for each kind, to which a user's own code may add.

A name that the table does not know may also say where the thing is: `package.module:name` is imported. That is how
the command line reaches methods, data sets and metrics that l2caf does not ship.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from l2caf.errors import L2CAFError, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A table from name to thing.

    Example:
        >>> from l2caf.errors import DataError
        >>> shouts = Registry[Callable[[str], str]]("shout", DataError)
        >>> @shouts.register("loud")
        ... def loud(text: str) -> str:
        ...     return text.upper()
        >>> shouts["loud"]("map")
        'MAP'
    """

    def __init__(self, kind: str, error: type[L2CAFError]) -> None:
        """An empty table.

        Args:
            kind: what the things are called in messages, such as `method`.
            error: what is raised for a name that nobody registered.
        """
        self.kind = kind
        self.error = error
        self._things: dict[str, T] = {}
        self._families: dict[str, Callable[[str], T]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a thing under a name, in the place of one that had that name before."""

        def enter(thing: T) -> T:
            self._things[name] = thing
            return thing

        return enter

    def family(self, prefix: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """Decorator that enters a function from NAME to thing for all names of the form `prefix:NAME`."""

        def enter(make: Callable[[str], T]) -> Callable[[str], T]:
            self._families[prefix] = make
            return make

        return enter

    def lines(self) -> dict[str, str]:
        """Every name, and `prefix:NAME` for every family, with the first line of its docstring."""
        entries = {**self._things, **{f"{prefix}:NAME": make for prefix, make in self._families.items()}}
        return {name: (entry.__doc__ or "").strip().partition("\n")[0] for name, entry in entries.items()}

    def __getitem__(self, name: str) -> T:
        """The thing of this name, or what `package.module:name` imports; raises the table's error for any other."""
        if name in self._things:
            return self._things[name]
        place, colon, attribute = name.partition(":")
        if colon and place in self._families:
            return self._families[place](attribute)
        if not colon:
            known = ", ".join(self.lines())
            raise self.error(
                f"unknown {self.kind} {name!r}{nearest(name, self._things)}; expected one of {known}, or "
                "package.module:name for one of your own"
            )
        try:
            return getattr(importlib.import_module(place), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(
                f"{self.kind} {name!r} cannot be imported: {error}; expected package.module:name"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things
