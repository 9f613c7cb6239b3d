"""Commands whose modules are imported when they are run, so that `l2caf --help` does not wait for torch."""

import importlib
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


class DeferredCommand(TyperCommand):
    """A command of which only the name and a line of help are known until it is run or asked for its own help."""

    callback: Callable[[], Callable[..., None]]  # imports the command's function

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and let it parse its arguments: click then goes on with the command itself."""
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(self.callback())
        return get_command(alone).make_context(info_name, args, parent, **extra)


def add_deferred(app: typer.Typer, name: str, place: str, summary: str) -> None:
    """Add a command to an application or group without importing it.

    Args:
        app: the application or group.
        name: the command's name.
        place: where the command's function is: `package.module:function`.
        summary: the line that the application's own help shows.
    """

    def imported() -> Callable[..., None]:
        module, _, function = place.partition(":")
        return getattr(importlib.import_module(module), function)

    app.command(name, cls=DeferredCommand, help=summary)(imported)
