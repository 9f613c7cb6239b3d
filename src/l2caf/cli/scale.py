"""Commands for whole data sets."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from PIL import Image

from l2caf.cli.options import Constraint, Layer, Network, WeightOfOthers, progress, with_network
from l2caf.models import LoadedModel
from l2caf.models.card import read_labels
from l2caf.storage import whole_file

if TYPE_CHECKING:
    from l2caf.jobs.run.lifecycle import Engine

EngineName = Literal["local", "ray"]
Results = Annotated[Path, typer.Argument(help="Folder that `l2caf run` wrote.")]


@with_network()
def run(
    source: Annotated[
        str,
        typer.Option(
            "--input", "-i", help="Names the pictures: a folder, a list, or .parquet or .tar files (a-{00..9}.tar)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Names the folder of the run; a run that stopped there goes on.")
    ],
    targets: Annotated[
        str, typer.Option(help="Chooses the classes: top1, top5, ..., or none for class-oblivious maps.")
    ] = "none",
    what: Annotated[str, typer.Option(help="Chooses what is kept: some of filter,box,heatmap,overlay.")] = "filter,box",
    layer: Layer = None,
    constraint: Constraint = "l2",
    others: WeightOfOthers = "sum",
    solver: Annotated[str, typer.Option(help="Chooses the solver: auto, exact, quasi-newton or descent.")] = "auto",
    compare: Annotated[
        str, typer.Option(help="Adds the agreement with the maps of another method, such as gradcam, or none.")
    ] = "none",
    threshold: Annotated[
        float, typer.Option(help="Sets the threshold of boxes, as a share of the map's maximum.")
    ] = 0.2,
    batch_size: Annotated[int, typer.Option(help="Sets the number of pictures per pass.", min=1)] = 32,
    shard_size: Annotated[int, typer.Option(help="Sets the number of pictures per file of results.", min=1)] = 1024,
    workers: Annotated[
        int, typer.Option(help="Sets how many processes read pictures for each one that computes.", min=0)
    ] = 2,
    engine: Annotated[EngineName, typer.Option(help="Chooses where to compute: on this machine, or on Ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Names the Ray cluster; by default one is started on this machine.")
    ] = None,
    actors: Annotated[int, typer.Option(help="Sets how many processes compute on Ray.", min=1)] = 1,
    cpus: Annotated[float, typer.Option("--cpus-per-actor", help="Sets the CPUs of each process on Ray.", min=0)] = 1,
    gpus: Annotated[float, typer.Option("--gpus-per-actor", help="Sets the GPUs of each process on Ray.", min=0)] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Sets the CPU threads per process; a resumed run keeps its number. By default one a core.", min=1
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Names a text file with a class name a line; by default the card's.")
    ] = None,
    *,
    network: Network,
) -> None:
    """Find the maps of a whole data set. Given again, the command goes on where the run stopped."""
    from l2caf.jobs.run import RunOptions, open_source  # noqa: PLC0415  (an extra)
    from l2caf.jobs.run import run as run_all  # noqa: PLC0415
    from l2caf.jobs.run.options import named_solver, parse_what  # noqa: PLC0415

    on_ray = RayOptions(address, actors, cpus, gpus)
    _check_engine(engine, on_ray, threads)
    options = RunOptions(
        _unless_none(targets), parse_what(what), layer, constraint, others, named_solver(solver), _unless_none(compare),
        threshold, batch_size, shard_size,
    )  # fmt: skip
    pictures = open_source(source)
    loaded = network()
    if labels is not None:
        loaded = replace(loaded, card=replace(loaded.card, labels=read_labels(labels)))
    chosen = _engine(engine, on_ray, loaded, workers, threads)
    with progress() as report:
        outcome = run_all(pictures, loaded, output, options, engine=chosen, report=report("pictures"))
    if outcome.n_failures:
        failed = f"{outcome.n_failures} of {outcome.n_pictures} pictures failed"
        typer.echo(f"{failed}: {output / 'errors.parquet'}", err=True)
    typer.echo(str(output))
    raise typer.Exit(1 if outcome.n_failures else 0)


def _unless_none(text: str) -> str | None:
    return None if text.lower() == "none" else text


class RayOptions(NamedTuple):
    """The options that mean something on Ray alone, with their defaults."""

    address: str | None = None
    actors: int = 1
    cpus_per_actor: float = 1
    gpus_per_actor: float = 0


def _check_engine(engine: EngineName, on_ray: RayOptions, threads: int | None) -> None:
    """Refuse an option that only the other engine heeds, rather than run somewhere that was not meant."""
    given = [name for name, value in on_ray._asdict().items() if value != RayOptions._field_defaults[name]]
    if engine == "local" and given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(f"{named} means nothing on this machine alone; add --engine ray")
    if engine == "ray" and threads is not None:
        raise typer.BadParameter("--threads means nothing on Ray: an actor has as many as --cpus-per-actor")


def _engine(engine: EngineName, on_ray: RayOptions, loaded: LoadedModel, workers: int, threads: int | None) -> "Engine":
    from l2caf.jobs.run import Local  # noqa: PLC0415  (an extra)

    if engine == "local":
        return Local(workers, str(loaded.device), threads)
    if loaded.device.type != "cpu" and not on_ray.gpus_per_actor:
        raise typer.BadParameter("on Ray, --gpus-per-actor says whether GPUs compute; --device alone does not")
    from l2caf.jobs.run.on_ray import OnRay  # noqa: PLC0415  (an extra)

    return OnRay(*on_ray, workers)


def show(
    results: Results,
    row: Annotated[int, typer.Option(help="Chooses the row by its number, from 0.", min=0)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Names the PNG file; by default row-N.png in this folder.")
    ] = None,
) -> None:
    """Draw a map of a run over its picture, and say what is known of it."""
    from l2caf.jobs.run import results as read_results  # noqa: PLC0415  (an extra)

    read = read_results(results)
    image, values = read.overlay(row), read.row(row)
    file = output or Path(f"row-{row}.png")
    with whole_file(file) as stream:
        Image.fromarray(image).save(stream, "PNG")
    for name, value in values.items():
        if name not in {"filter", "heatmap", "overlay"}:
            typer.echo(f"{name}: {value}", err=True)
    typer.echo(str(file))


def report(
    results: Results,
    output: Annotated[Path, typer.Option("--output", "-o", help="Names the HTML file.")] = Path("report.html"),
    pictures: Annotated[int, typer.Option(help="Sets how many maps the page shows at most.", min=3)] = 120,
) -> None:
    """Make one self-contained page of a run of any size."""
    from l2caf.jobs.run import results as read_results  # noqa: PLC0415  (an extra)
    from l2caf.jobs.run.report import write_report  # noqa: PLC0415

    n = write_report(read_results(results), output, n_shown=pictures)
    typer.echo(f"{n} maps shown", err=True)
    typer.echo(str(output))
