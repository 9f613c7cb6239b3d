"""Commands for whole data sets."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from PIL import Image

from l2caf.cli.options import Constraint, Layer, Network, WeightOfOthers, progress, with_network
from l2caf.models.card import read_labels
from l2caf.storage import whole_file

Results = Annotated[Path, typer.Argument(help="Folder that `l2caf run` wrote.")]


@with_network()
def run(
    source: Annotated[
        str, typer.Option("--input", "-i", help="Folder, list, or .parquet or .tar files (a-{00..9}.tar).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; taken up if it exists.")],
    targets: Annotated[str, typer.Option(help="none (class-oblivious), top1, top5, ...")] = "none",
    what: Annotated[str, typer.Option(help="What to keep: some of filter,heatmap,box,overlay.")] = "filter,box",
    layer: Layer = None,
    constraint: Constraint = "l2",
    others: WeightOfOthers = "sum",
    solver: Annotated[str, typer.Option(help="auto, exact, quasi-newton or descent.")] = "auto",
    compare: Annotated[
        str, typer.Option(help="Also the agreement with cam, gradcam or gradcam-abs; or none.")
    ] = "none",
    threshold: Annotated[float, typer.Option(help="Of boxes, as a share of the map's maximum.")] = 0.2,
    batch_size: Annotated[int, typer.Option(help="Pictures per pass.", min=1)] = 32,
    shard_size: Annotated[int, typer.Option(help="Pictures per file of results.", min=1)] = 1024,
    workers: Annotated[int, typer.Option(help="Processes that read pictures, for each that computes.", min=0)] = 2,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="This machine, or Ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; else one on this machine.")] = None,
    actors: Annotated[int, typer.Option(help="Ray: processes that compute.", min=1)] = 1,
    cpus: Annotated[float, typer.Option("--cpus-per-actor", help="Ray: CPUs of each.", min=0)] = 1,
    gpus: Annotated[float, typer.Option("--gpus-per-actor", help="Ray: GPUs of each.", min=0)] = 0,
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads, else one a core; a run keeps those it began with.", min=1),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file, a class name a line.")] = None,
    *,
    network: Network,
) -> None:
    """Find the maps of a whole data set; run again, it goes on where it stopped."""
    from l2caf.jobs.run import Local, Options, open_source  # noqa: PLC0415  (an extra)
    from l2caf.jobs.run import run as run_all  # noqa: PLC0415
    from l2caf.jobs.run.options import named_compare, named_solver, parse_what  # noqa: PLC0415

    _check_engine(
        engine,
        {"--address": address, "--actors": actors > 1, "--cpus-per-actor": cpus != 1, "--gpus-per-actor": gpus},
        threads,
    )
    options = Options(
        None if targets.lower() == "none" else targets, parse_what(what), layer, constraint, others,
        named_solver(solver), named_compare(compare), threshold, batch_size, shard_size,
    )  # fmt: skip
    pictures = open_source(source)
    loaded = network()
    if labels is not None:
        loaded = replace(loaded, card=replace(loaded.card, labels=read_labels(labels)))
    if engine == "ray":
        if loaded.device.type != "cpu" and not gpus:
            raise typer.BadParameter("on Ray, --gpus-per-actor says whether GPUs compute; --device alone does not")
        from l2caf.jobs.run.on_ray import OnRay  # noqa: PLC0415  (an extra)

        chosen: OnRay | Local = OnRay(address, actors, cpus, gpus, workers)
    else:
        chosen = Local(workers, str(loaded.device), threads)
    with progress() as report:
        outcome = run_all(pictures, loaded, output, options, engine=chosen, report=report("pictures"))
    if outcome.n_failures:
        typer.echo(
            f"{outcome.n_failures} of {outcome.n_pictures} pictures failed: {output / 'errors.parquet'}", err=True
        )
    typer.echo(str(output))
    raise typer.Exit(1 if outcome.n_failures else 0)


def _check_engine(engine: str, of_ray: Mapping[str, object], threads: int | None) -> None:
    """Refuse what the other engine alone would heed, rather than run somewhere that was not meant."""
    named = ", ".join(name for name, given in of_ray.items() if given)
    if engine == "local" and named:
        raise typer.BadParameter(f"{named} means nothing on this machine alone; add --engine ray")
    if engine == "ray" and threads is not None:
        raise typer.BadParameter("--threads means nothing on Ray: an actor has as many as --cpus-per-actor")


def show(
    results: Results,
    row: Annotated[int, typer.Option(help="Number of the row, from 0.", min=0)],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="PNG file; else row-N.png here.")] = None,
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
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path("report.html"),
    pictures: Annotated[int, typer.Option(help="Maps in the page at most.", min=3)] = 120,
) -> None:
    """Make one self-contained page of a run of any size."""
    from l2caf.jobs.run import results as read_results  # noqa: PLC0415  (an extra)
    from l2caf.jobs.run.report import write_report  # noqa: PLC0415

    n = write_report(read_results(results), output, n_shown=pictures)
    typer.echo(f"{n} maps shown", err=True)
    typer.echo(str(output))
