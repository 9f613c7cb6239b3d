"""Commands that repeat the paper's figures and tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.table import Table as Lines

from l2caf.cli.options import Device, Network, Pictures, progress, sharing, with_network
from l2caf.data.digit_scenes import DigitScenes
from l2caf.data.pictures import find_pictures, read_picture
from l2caf.evaluation.sanity import Mode, summary
from l2caf.experiments.figure10 import figure10 as make_figure10
from l2caf.experiments.figure11 import figure11 as make_figure11
from l2caf.experiments.figure12 import NETWORKS, costs
from l2caf.experiments.figure12 import figure12 as make_figure12

if TYPE_CHECKING:
    from l2caf.experiments.tables import TablePlan

TableFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Write the table to this folder, and continue a run that stopped there.")
]
FigureFile = Annotated[Path, typer.Option("--output", "-o", help="Write the figure to this picture file.")]

app = typer.Typer(no_args_is_help=True, help="Repeat the paper's figures and tables.")


@app.command()
def figure9(
    data: Annotated[str, typer.Option("--data", help="Read clips from DigitClips, which need no download.")] = "clips",
    output: FigureFile = Path("figure9.png"),
    weights: Annotated[
        Path | None,
        typer.Option(help="Read the network's clips.safetensors; by default a network is trained for some minutes."),
    ] = None,
    joint: Annotated[
        bool, typer.Option("--joint", help="Seek one filter over all frames, which shows the frame that matters.")
    ] = False,
) -> None:
    """Attention of a recurrent retrieval network at every time step."""
    if data != "clips":
        raise typer.BadParameter(f"data {data!r} is unknown; expected clips, as the paper's data are not public")
    from l2caf.experiments.figure9 import figure9 as make_figure9  # noqa: PLC0415  (an extra)

    with progress() as report:
        rows = make_figure9(output, weights=weights, joint=joint, report=report("training"))
    losses = ((event, f"{loss:.3g}", f"{uniform:.3g}") for event, loss, uniform in rows)
    _show(("event", "loss", "loss of the uniform filter"), losses, output)


@app.command()
@with_network(model="embedded/digits")
def figure10(
    paths: Pictures = None,
    output: FigureFile = Path("figure10.png"),
    methods: Annotated[
        str, typer.Option(help="Compare these methods, named as in `l2caf evaluate`.")
    ] = "l2caf,l2caf-specific,gradcam",
    mode: Annotated[
        Mode, typer.Option(help="Draw layers anew one after another (cascading) or one at a time (independent).")
    ] = "cascading",
    every: Annotated[
        bool, typer.Option("--every-layer", help="Show a stage for each layer, not only the last layer and all layers.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Draw the weights anew from so many seeds.", min=1)] = 3,
    *,
    network: Network,
) -> None:
    """Sanity checks: what is left of each method's maps when the network's weights are drawn anew."""
    rows = make_figure10(
        _pictures(paths), network(), methods.split(","), output, mode=mode, every=every, seeds=tuple(range(seeds))
    )
    stages = ((name, stage, f"{rank:.2f}", f"{ssim:.2f}") for name, stage, rank, ssim in summary(rows))
    _show(("method", "drawn anew", "rank correlation", "SSIM"), stages, output)


@app.command()
@with_network(model="embedded/digits")
def figure11(
    paths: Pictures = None,
    output: FigureFile = Path("figure11.png"),
    *,
    network: Network,
) -> None:
    """One class-oblivious map of each picture under each constraint."""
    loaded, images = network(), _pictures(paths)
    losses = make_figure11(output, images, loaded)
    headings = ("constraint", *(f"loss {number}" for number in range(1, len(images) + 1)))
    _show(headings, ((name, *(f"{loss:.4g}" for loss in row)) for name, row in losses.items()), output)


@app.command()
def figure12(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Time these networks; by default those of the paper.")
    ] = None,
    output: FigureFile = Path("figure12.png"),
) -> None:
    """Time of a class-oblivious map: the paper's descent, vanilla and fast, and ours, in forward passes."""
    timings = make_figure12(output, networks=networks or NETWORKS)
    rows = ((one.name, *(f"{cost:.3g}" for cost in costs(one).values()), f"{one.forward_s:.3f} s") for one in timings)
    _show(("network", *costs(timings[0]), "in forward passes of"), rows, output)


@app.command()
def table1(
    dataset: Annotated[
        str, typer.Option("--data", help="Judge maps on ilsvrc:ROOT, or on digits, which need no download.")
    ],
    output: TableFolder,
) -> None:
    """Localisation without fine-tuning: Grad-CAM beside L2-CAF, the paper's figures beside ours."""
    from l2caf.experiments.table1 import TABLE1  # noqa: PLC0415  (an extra)

    with progress() as report:
        TABLE1.make(dataset, output, report=report)
    _print(output / "table1.md")


@dataclass(frozen=True, slots=True)
class TrainedNetworks:
    """The options that tables of trained networks share."""

    weights: Annotated[
        Path | None,
        typer.Option(help="Read weights named NETWORK.safetensors from this folder; networks without are trained."),
    ] = None
    networks: Annotated[
        str, typer.Option(help="Compare these networks, such as googlenet,vgg16-adl; by default all of the table.")
    ] = ""
    seeds: Annotated[
        str, typer.Option(help="Repeat the table with these seeds; by default 0,1,2 for digits, and else 0.")
    ] = ""
    device: Device = "cpu"

    def plan(self) -> "TablePlan":
        """The same, as tables take it."""
        from l2caf.experiments.tables import TablePlan  # noqa: PLC0415  (an extra)

        return TablePlan(self.weights, _named(self.networks), seeds=_seeds(self.seeds), device=self.device)


@app.command()
@sharing("trained", TrainedNetworks)
def table2(
    dataset: Annotated[
        str, typer.Option("--data", help="Train and judge on cub:ROOT, ilsvrc:ROOT, or digits, which need no download.")
    ],
    output: TableFolder,
    *,
    trained: Callable[[], TrainedNetworks],
) -> None:
    """Localisation by networks fine-tuned for it: GAP, ADL and ACoL, the paper's figures beside ours."""
    from l2caf.experiments.table2 import TABLE2  # noqa: PLC0415  (an extra)

    with progress() as report:
        TABLE2.make(dataset, output, trained().plan(), report=report)
    _print(output / "table2.md")


@app.command()
@sharing("trained", TrainedNetworks)
def table3(
    dataset: Annotated[
        str, typer.Option("--data", help="Train and judge on cub:ROOT, cars:ROOT, or digits, which need no download.")
    ],
    output: TableFolder,
    losses: Annotated[str, typer.Option(help="Train by these ranking losses.")] = "triplet,npair",
    *,
    trained: Callable[[], TrainedNetworks],
) -> None:
    """Localisation by retrieval networks: Grad-CAM and Grad-CAM-abs beside L2-CAF, the paper's figures beside ours."""
    from l2caf.experiments.table3 import TABLE3  # noqa: PLC0415  (an extra)

    with progress() as report:
        TABLE3.make(dataset, output, replace(trained().plan(), losses=_named(losses)), report=report)
    _print(output / "table3.md")


def _show(headings: Iterable[str], rows: Iterable[Iterable[str]], output: Path) -> None:
    """Print a figure's numbers and where it is."""
    table = Lines(*headings)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    typer.echo(str(output))


def _print(file: Path) -> None:
    """Print a table and where it is."""
    typer.echo(file.read_text(encoding="utf-8"))
    typer.echo(str(file))


def _named(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of seeds such as 0,1,2") from error


def _pictures(paths: list[Path] | None) -> list[Image.Image]:
    """The pictures that were named, or scenes of two digits on photographs."""
    if paths:
        return [read_picture(file) for file in find_pictures(paths)]
    scenes = DigitScenes("test", objects=2, length=3, seed=2)
    return [Image.fromarray(scenes[index].image) for index in range(len(scenes))]
