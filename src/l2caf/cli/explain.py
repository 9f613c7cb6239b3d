"""Commands that show where a network looks."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from rich.console import Console
from rich.table import Table

from l2caf.attention import L2CAF
from l2caf.cli.options import (
    Arguments,
    Card,
    Constraint,
    Layer,
    Network,
    Size,
    WeightOfOthers,
    Weights,
    card_of,
    progress,
    with_network,
)
from l2caf.data.digit_scenes import DigitScenes, write_scenes
from l2caf.data.pictures import find_pictures
from l2caf.errors import TargetError
from l2caf.jobs.explain import PictureRequest
from l2caf.jobs.explain import explain as run_explain
from l2caf.methods.registry import methods as named_methods
from l2caf.models import load, names
from l2caf.models.card import read_labels
from l2caf.objectives import ClassSpecific

DEMO_SCENES: Final = ((2, 6), (1, 2), (3, 2))  # digits per scene, scenes


@with_network()
def explain(
    paths: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Names picture files and folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Names a new folder for the results.")],
    target: Annotated[str, typer.Option(help="Chooses the classes: top3, numbers as 208,324, or none.")] = "top1",
    layer: Layer = None,
    constraint: Constraint = "l2",
    others: WeightOfOthers = "sum",
    method: Annotated[
        str, typer.Option(help="Shows the maps of other methods, too, such as cam,gradcam; by default none.")
    ] = "",
    labels: Annotated[
        Path | None, typer.Option(help="Names a text file with a class name a line; by default the card's.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replaces earlier results.")] = False,
    animate: Annotated[bool, typer.Option("--animate", help="Also writes slow motion, as GIF and MP4.")] = False,
    *,
    network: Network,
) -> None:
    """Show where a network looks, for pictures and folders of pictures."""
    files = find_pictures(paths)
    wanted = parse_target(target)
    loaded = network()
    if labels is not None:
        loaded = replace(loaded, card=replace(loaded.card, labels=read_labels(labels)))
    caf = L2CAF(loaded.model, layer, constraint=constraint, objective=ClassSpecific(others))
    requests = [PictureRequest(file, wanted) for file in files]
    beside = named_methods([name for name in method.split(",") if name], loaded.model, layer)
    with progress() as report:
        result = run_explain(
            requests, loaded, caf, output,
            methods=beside, overwrite=overwrite, animate=animate, report=report("pictures"),
        )  # fmt: skip
    for name, reason in result.skipped:
        typer.echo(f"skipped {name}: {reason}", err=True)
    typer.echo(str(result.folder / "index.html"))
    raise typer.Exit(1 if result.skipped else 0)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Names the folder for the results.")] = Path(
        "out/demo"
    ),
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
            requests += [PictureRequest(file, f"top{objects}") for file in files]
        result = run_explain(requests, loaded, caf, output, overwrite=True)
    typer.echo(f"{len(result.done)} pictures explained; open {result.folder / 'index.html'}")


def layers(
    model: Annotated[str, typer.Argument(help="Names the network: resnet50, torchvision/NAME, timm/NAME.")],
    weights: Weights = None,
    card: Card = None,
    model_arg: Arguments = None,
    size: Size = None,
) -> None:
    """List every layer with a spatial grid, whether it follows the picture and reaches the output, and the default."""
    loaded = load(model, weights=weights, card=card_of(card, model_arg, size), pretrained=False)
    height, width = loaded.card.size or (224, 224)
    table = Table("layer", "type", "grid", "layout", "picture", "reaches", "")
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    for info in L2CAF(loaded.model).layers(noise):
        reach = "hands on" if info.hands_on else f"{info.reach or 0:.0%}"
        grid = "x".join(map(str, info.grid))
        default = "default" if info.is_default else ""
        table.add_row(info.name, info.kind, grid, info.layout.name, str(info.locality), reach, default)
    Console().print(table)


def models(
    pattern: Annotated[str, typer.Argument(help="Keeps the names that contain this text; by default all.")] = "",
) -> None:
    """List the networks that --model takes."""
    for name in names():
        if pattern in name:
            typer.echo(name)


def parse_target(text: str) -> str | list[int] | None:
    """What `--target` says: `top3`, class numbers, or None; raises `TargetError` for anything else."""
    if text.lower() == "none":
        return None
    if text.startswith("top"):
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise TargetError(f"target {text!r} is not understood; expected top3, numbers as 208,324, or none") from error
