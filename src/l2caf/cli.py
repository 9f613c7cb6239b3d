"""The command line: parse, call, print.

Results go to stdout, notes to stderr. Exit codes: 0 done, 1 done in part, 2 nothing done, 130 interrupted.
"""

import logging
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from l2caf.attention import L2CAF
from l2caf.data.digit_scenes import DigitScenes, write_scenes
from l2caf.data.pictures import find_pictures, read_picture
from l2caf.errors import L2CAFError, TargetError
from l2caf.experiments.figure11 import draw as draw_figure11
from l2caf.explain import Request
from l2caf.explain import explain as run_explain
from l2caf.models import ModelCard, load, names
from l2caf.models.card import Fit, read_labels
from l2caf.models.zoo import parse_arguments
from l2caf.objectives import ClassSpecific, Others

DEMO_SCENES = ((2, 6), (1, 2), (3, 2))  # digits per scene, scenes

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

reproduce = typer.Typer(no_args_is_help=True, help="The paper's figures and tables.")
app.add_typer(reproduce, name="reproduce")

Model = Annotated[str, typer.Option("--model", "-m", help="Network: resnet50, torchvision/NAME, timm/NAME.")]
Weights = Annotated[Path | None, typer.Option(help="Weight file (.safetensors, .pth); else the library's download.")]
Card = Annotated[Path | None, typer.Option(help="Model card (JSON); else the one beside the weights.")]
Arguments = Annotated[
    list[str] | None, typer.Option("--model-arg", help="Constructor keyword, NAME=VALUE; repeatable.")
]
Size = Annotated[int | None, typer.Option(help="Side of the network's input in pixels.")]
Numbers = Annotated[str | None, typer.Option(help="One number, or one per channel: 0.5 or 0.48,0.45,0.40.")]


def main() -> None:
    """Entry point: one line per error, no traceback."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        app()
    except L2CAFError as error:
        typer.echo(f"l2caf: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@app.command()
def explain(
    paths: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Picture files and folders.")],
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the results.")],
    target: Annotated[str, typer.Option(help="top3, class numbers as 208,324, or none.")] = "top1",
    layer: Annotated[str | None, typer.Option(help="Dotted name; else the last that reaches the output.")] = None,
    others: Annotated[Others, typer.Option(help="Eq. 2's other classes: sum (as printed) or mean.")] = "sum",
    weights: Weights = None,
    card: Card = None,
    model_arg: Arguments = None,
    size: Size = None,
    mean: Numbers = None,
    std: Numbers = None,
    fit: Annotated[Fit | None, typer.Option(help="squash, crop or pad.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file, a class name a line.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")] = False,
    animate: Annotated[bool, typer.Option("--animate", help="Also write slow motion, as GIF and MP4.")] = False,
) -> None:
    """Show where a network looks, for pictures and folders of pictures."""
    files = find_pictures(paths)
    wanted = _target(target)
    loaded = load(model, weights=weights, card=_card(card, model_arg, size, mean, std, fit, labels))
    caf = L2CAF(loaded.model, layer, objective=ClassSpecific(others))
    requests = [Request(file, wanted) for file in files]
    result = run_explain(requests, loaded, caf, output, overwrite=overwrite, animate=animate)
    for name, reason in result.skipped:
        typer.echo(f"skipped {name}: {reason}", err=True)
    typer.echo(str(result.folder / "index.html"))
    raise typer.Exit(1 if result.skipped else 0)


@reproduce.command()
def figure11(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PICTURES...]", help="Else digits on photos.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Network.")] = "embedded/digits",
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture file.")] = Path("figure11.png"),
    weights: Weights = None,
    card: Card = None,
    model_arg: Arguments = None,
    size: Size = None,
    mean: Numbers = None,
    std: Numbers = None,
    fit: Annotated[Fit | None, typer.Option(help="squash, crop or pad.")] = None,
) -> None:
    """One class-oblivious map of each picture under each constraint."""
    loaded = load(model, weights=weights, card=_card(card, model_arg, size, mean, std, fit))
    if paths:
        images = [read_picture(file) for file in find_pictures(paths)]
    else:
        scenes = DigitScenes("test", objects=2, length=3, seed=2)
        images = [Image.fromarray(scenes[index].image) for index in range(len(scenes))]
    table = Table("constraint", *(f"loss {number}" for number in range(1, len(images) + 1)))
    for name, losses in draw_figure11(images, loaded, output).items():
        table.add_row(name, *(f"{loss:.4g}" for loss in losses))
    Console().print(table)
    typer.echo(str(output))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("out/demo"),
) -> None:
    """Explain pictures that l2caf makes itself, with the network that it carries: needs no download."""
    loaded = load("embedded/digits")
    caf = L2CAF(loaded.model, objective=ClassSpecific("mean"))
    with tempfile.TemporaryDirectory() as temporary:
        requests = []
        for objects, length in DEMO_SCENES:
            folder = Path(temporary, str(objects))
            folder.mkdir()
            files = write_scenes(DigitScenes("test", objects=objects, length=length, seed=2), folder)
            requests += [Request(file, f"top{objects}") for file in files]
        result = run_explain(requests, loaded, caf, output, overwrite=True)
    typer.echo(f"{len(result.done)} pictures explained; open {result.folder / 'index.html'}")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="Network: resnet50, torchvision/NAME, timm/NAME.")],
    weights: Weights = None,
    card: Card = None,
    model_arg: Arguments = None,
    size: Size = None,
) -> None:
    """List every layer with a spatial grid, what reaches the output, and the default."""
    loaded = load(model, weights=weights, card=_card(card, model_arg, size), pretrained=False)
    height, width = loaded.card.size or (224, 224)
    table = Table("layer", "type", "grid", "layout", "reaches", "")
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    for info in L2CAF(loaded.model).layers(noise):
        reach = "hands on" if info.hands_on else f"{info.reach or 0:.0%}"
        grid = "x".join(map(str, info.grid))
        table.add_row(info.name, info.kind, grid, info.layout.name, reach, "default" if info.is_default else "")
    Console().print(table)


@app.command()
def models(pattern: Annotated[str, typer.Argument(help="Part of a name.")] = "") -> None:
    """List the networks that --model takes."""
    for name in names():
        if pattern in name:
            typer.echo(name)


def _card(
    card: Path | None,
    arguments: list[str] | None,
    size: int | None,
    mean: str | None = None,
    std: str | None = None,
    fit: Fit | None = None,
    labels: Path | None = None,
) -> ModelCard:
    """What the command line says of a network, over what its card says."""
    said = ModelCard(
        arguments=parse_arguments(arguments or []),
        size=None if size is None else (size, size),
        mean=_numbers(mean),
        std=_numbers(std),
        fit=fit,
        labels=None if labels is None else read_labels(labels),
    )
    return said if card is None else said.over(ModelCard.read(card))


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of numbers") from error


def _target(text: str) -> str | list[int] | None:
    if text.lower() == "none":
        return None
    if text.startswith("top"):
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise TargetError(f"target {text!r} is not understood; expected top3, numbers as 208,324, or none") from error
