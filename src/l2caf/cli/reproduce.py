"""Commands that repeat the paper's figures and tables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.table import Table as Lines

from l2caf.cli.options import Device, Network, Pictures, progress, sharing, with_network
from l2caf.data.digit_scenes import DigitScenes
from l2caf.data.pictures import find_pictures, read_picture
from l2caf.evaluation.sanity import Mode, figure, summary
from l2caf.experiments.figure11 import draw as draw_figure11
from l2caf.experiments.figure12 import NETWORKS, costs
from l2caf.experiments.figure12 import figure12 as make_figure12

if TYPE_CHECKING:
    from l2caf.experiments.tables import Plan

Table = Annotated[Path, typer.Option("--output", "-o", help="Folder; a run that stopped is taken up.")]
Figure = Annotated[Path, typer.Option("--output", "-o", help="Picture file.")]

app = typer.Typer(no_args_is_help=True, help="The paper's figures and tables.")


@app.command()
def figure9(
    data: Annotated[str, typer.Option("--data", help="clips: DigitClips, which need no download.")] = "clips",
    output: Figure = Path("figure9.png"),
    weights: Annotated[Path | None, typer.Option(help="clips.safetensors; else trains for some minutes.")] = None,
    joint: Annotated[bool, typer.Option("--joint", help="One filter over all frames: which one matters.")] = False,
) -> None:
    """Attention of a recurrent retrieval network at every time step."""
    if data != "clips":
        raise typer.BadParameter(f"data {data!r} is unknown; expected clips, as the paper's data are not public")
    from l2caf.experiments.figure9 import figure9 as make_figure9  # noqa: PLC0415  (an extra)

    with progress() as report:
        rows = make_figure9(output, weights=weights, joint=joint, report=report("training"))
    table = Lines("event", "loss", "loss of the uniform filter")
    for event, loss, uniform in rows:
        table.add_row(event, f"{loss:.3g}", f"{uniform:.3g}")
    Console().print(table)
    typer.echo(str(output))


@app.command()
@with_network(model="embedded/digits")
def figure10(
    paths: Pictures = None,
    output: Figure = Path("figure10.png"),
    methods: Annotated[str, typer.Option(help="As of `l2caf evaluate`.")] = "l2caf,l2caf-specific,gradcam",
    mode: Annotated[Mode, typer.Option(help="Layers drawn anew one after another, or one at a time.")] = "cascading",
    every: Annotated[bool, typer.Option("--every-layer", help="A stage per layer, not only logits and all.")] = False,
    seeds: Annotated[int, typer.Option(help="How many times weights are drawn.", min=1)] = 3,
    *,
    network: Network,
) -> None:
    """Sanity checks: what is left of each method's maps when the network's weights are drawn anew."""
    loaded = network()
    rows = figure(
        _pictures(paths), loaded, methods.split(","), output, mode=mode, every=every, seeds=tuple(range(seeds))
    )
    table = Lines("method", "drawn anew", "rank correlation", "SSIM")
    for name, stage, rank, ssim in summary(rows):
        table.add_row(name, stage, f"{rank:.2f}", f"{ssim:.2f}")
    Console().print(table)
    typer.echo(str(output))


@app.command()
@with_network(model="embedded/digits")
def figure11(
    paths: Pictures = None,
    output: Figure = Path("figure11.png"),
    *,
    network: Network,
) -> None:
    """One class-oblivious map of each picture under each constraint."""
    loaded = network()
    images = _pictures(paths)
    table = Lines("constraint", *(f"loss {number}" for number in range(1, len(images) + 1)))
    for name, losses in draw_figure11(images, loaded, output).items():
        table.add_row(name, *(f"{loss:.4g}" for loss in losses))
    Console().print(table)
    typer.echo(str(output))


@app.command()
def figure12(
    networks: Annotated[list[str] | None, typer.Argument(help="Names; else the paper's.")] = None,
    output: Figure = Path("figure12.png"),
) -> None:
    """Time of a class-oblivious map: the paper's descent, vanilla and fast, and ours, in forward passes."""
    timings = make_figure12(output, networks=networks or NETWORKS)
    table = Lines("network", *costs(timings[0]), "in forward passes of")
    for one in timings:
        table.add_row(one.name, *(f"{cost:.3g}" for cost in costs(one).values()), f"{one.forward_s:.3f} s")
    Console().print(table)
    typer.echo(str(output))


@app.command()
def table1(
    dataset: Annotated[str, typer.Option("--data", help="ilsvrc:ROOT, or digits, which needs no download.")],
    output: Table,
) -> None:
    """Localisation without fine-tuning: Grad-CAM beside L2-CAF, the paper's figures beside ours."""
    from l2caf.experiments.table1 import table1 as make_table1  # noqa: PLC0415  (an extra)
    from l2caf.experiments.tables import as_markdown  # noqa: PLC0415

    with progress() as report:
        rows = make_table1(dataset, output, report=report)
    typer.echo(as_markdown(rows))
    typer.echo(str(output / "table1.md"))


@dataclass(frozen=True, slots=True)
class Trained:
    """What tables of trained networks ask alike."""

    weights: Annotated[
        Path | None, typer.Option(help="Folder of NETWORK.safetensors, such as vgg16-adl; what is missing is trained.")
    ] = None
    networks: Annotated[str, typer.Option(help="Such as googlenet,vgg16-adl; else all.")] = ""
    seeds: Annotated[str, typer.Option(help="Such as 0,1,2, which is the default for digits; else 0.")] = ""
    device: Device = "cpu"

    def plan(self) -> "Plan":
        """The same in a table's own types."""
        from l2caf.experiments.tables import Plan  # noqa: PLC0415  (an extra)

        return Plan(self.weights, _named(self.networks), _seeds(self.seeds), device=self.device)


@app.command()
@sharing("trained", Trained)
def table2(
    dataset: Annotated[str, typer.Option("--data", help="cub:ROOT, ilsvrc:ROOT, or digits: no download.")],
    output: Table,
    *,
    trained: Callable[[], Trained],
) -> None:
    """Localisation by networks fine-tuned for it: GAP, ADL and ACoL, the paper's figures beside ours."""
    from l2caf.experiments.table2 import table2 as make_table2  # noqa: PLC0415  (an extra)
    from l2caf.experiments.tables import as_markdown  # noqa: PLC0415

    with progress() as report:
        rows = make_table2(dataset, output, trained().plan(), report=report)
    typer.echo(as_markdown(rows))
    typer.echo(str(output / "table2.md"))


@app.command()
@sharing("trained", Trained)
def table3(
    dataset: Annotated[str, typer.Option("--data", help="cub:ROOT, cars:ROOT, or digits: no download.")],
    output: Table,
    losses: Annotated[str, typer.Option(help="Such as npair; else both.")] = "triplet,npair",
    *,
    trained: Callable[[], Trained],
) -> None:
    """Localisation by retrieval networks: Grad-CAM and Grad-CAM-abs beside L2-CAF, the paper's figures beside ours."""
    from l2caf.experiments.table3 import as_markdown  # noqa: PLC0415  (an extra)
    from l2caf.experiments.table3 import table3 as make_table3  # noqa: PLC0415

    with progress() as report:
        rows = make_table3(dataset, output, trained().plan(), losses=_named(losses), report=report)
    typer.echo(as_markdown(rows))
    typer.echo(str(output / "table3.md"))


def _named(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of seeds such as 0,1,2") from error


def _pictures(paths: list[Path] | None) -> list[Image.Image]:
    """Those named, or two digits on photographs."""
    if paths:
        return [read_picture(file) for file in find_pictures(paths)]
    scenes = DigitScenes("test", objects=2, length=3, seed=2)
    return [Image.fromarray(scenes[index].image) for index in range(len(scenes))]
