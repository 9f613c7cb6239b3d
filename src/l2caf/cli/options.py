"""Options that several commands share, and their progress bars."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from l2caf.models import LoadedModel, ModelCard, load
from l2caf.models.arguments import parse_arguments
from l2caf.models.card import Fit
from l2caf.objectives import Others
from l2caf.progress import Reports


class RateColumn(ProgressColumn):
    """The speed of a job."""

    def render(self, task: Task) -> Text:
        """Say how many pictures, steps or frames are done per second."""
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


LEFT_OUT: Final = object()
Command = Callable[..., None]
PROGRESS: Final = (
    TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn()
)  # fmt: skip

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Names the network: resnet50, torchvision/NAME, timm/NAME, hf/NAME-OR-FOLDER, or your.module:constructor.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Names the weight file (.safetensors, .pth) or folder; by default the library's download."),
]
Card = Annotated[Path | None, typer.Option(help="Names the model card (JSON); by default the one beside the weights.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--model-arg", help="Gives the constructor a keyword, NAME=VALUE; may be given several times."),
]
Constraint = Annotated[str, typer.Option(help="Chooses the constraint of the filter: l2, l1, softmax or gaussian.")]
WeightOfOthers = Annotated[
    Others, typer.Option("--others", help="Weighs Eq. 2's other classes: by their sum (as printed) or their mean.")
]
Layer = Annotated[
    str | None, typer.Option(help="Names the layer to look at; by default the last one that reaches the output.")
]
Fitting = Annotated[
    Fit | None,
    typer.Option(help="Fits pictures to the network: squash, crop, pad or squash-crop; by default the card's."),
]
Size = Annotated[
    int | None, typer.Option(help="Sets the side of the network's input in pixels; by default the card's.")
]
Numbers = Annotated[
    str | None,
    typer.Option(help="Normalises pictures: one number, or one per channel (0.48,0.45,0.40); by default the card's."),
]
Pictures = Annotated[
    list[Path] | None, typer.Argument(metavar="[PICTURES...]", help="Names pictures; by default digits on photos.")
]
Network = Callable[[], LoadedModel]  # of `with_network`
Device = Annotated[str, typer.Option(help="Chooses the device: cpu, cuda, cuda:1, ...")]


@contextmanager
def progress() -> Iterator[Reports]:
    """Draw progress bars on stderr while the body runs.

    Yields:
        A function from the name of a job, which stands before its bar, to the report that moves the bar.
    """
    bars = Progress(*PROGRESS, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def move(what: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total, completed=done)  # of an earlier run: no speed
        bars.update(tasks[what], completed=done, total=total)

    try:
        yield lambda what: partial(move, what)
    finally:
        if tasks:  # bars that never began would end in an empty line
            bars.stop()


def _named(
    model: Model,
    weights: Weights = None,
    card: Card = None,
    model_arg: Arguments = None,
    size: Size = None,
    mean: Numbers = None,
    std: Numbers = None,
    fit: Fitting = None,
    device: Device = "cpu",
) -> LoadedModel:
    loaded = load(model, weights=weights, card=card_of(card, model_arg, size, mean, std, fit))
    _move(loaded, device)
    return loaded


def sharing(keyword: str, build: Callable[..., Any], **changed: Any) -> Callable[[Command], Command]:
    """Give a command options that other commands have, too.

    Args:
        keyword: the command's own parameter for what the options make: a function without arguments, so that a command
            can check its other options first.
        build: the function that takes the shared options and makes what the command needs.
        changed: new defaults for options of `build`, by name; LEFT_OUT for an option that the command does not have.

    Returns:
        The decorator.
    """
    parameters = inspect.signature(build).parameters
    asked = {
        name: one.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=changed.get(name, one.default))
        for name, one in parameters.items()
        if changed.get(name) is not LEFT_OUT
    }

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [one for name, one in signature.parameters.items() if name != keyword]

        @wraps(command)
        def called(*args: Any, **given: Any) -> None:
            named = {name: given.pop(name) for name in asked if name in given}
            command(*args, **{keyword: partial(build, **named)}, **given)

        every = [*own, *asked.values()]
        called.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in every} | {"return": None}
        return called

    return decorate


def with_network(**changed: Any) -> Callable[[Command], Command]:
    """Give a command the options that name a network and say how to feed it, and `network`, which loads it."""
    return sharing("network", _named, **changed)


def _move(loaded: LoadedModel, device: str) -> None:
    try:
        loaded.model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise typer.BadParameter(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error


def card_of(
    card: Path | None,
    arguments: list[str] | None,
    size: int | None,
    mean: str | None = None,
    std: str | None = None,
    fit: Fit | None = None,
) -> ModelCard:
    """The model card of a network, with what the command line says in the place of what its file says."""
    said = ModelCard(
        arguments=parse_arguments(arguments or []),
        size=None if size is None else (size, size),
        mean=_parse_numbers(mean),
        std=_parse_numbers(std),
        fit=fit,
    )
    return said if card is None else said.over(ModelCard.read(card))


def _parse_numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of numbers") from error
