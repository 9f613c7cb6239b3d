"""Commands for films and volumes."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from l2caf.attention import L2CAF
from l2caf.cli.explain import parse_target
from l2caf.cli.options import LEFT_OUT, Layer, Network, WeightOfOthers, progress, with_network
from l2caf.jobs.video import Sampling, explain_film
from l2caf.jobs.volume import explain_volume, scores_of_volume
from l2caf.objectives import ClassSpecific


@with_network()
def video(
    path: Annotated[Path, typer.Argument(metavar="FILM", help="Names a film, or a folder of frames.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Names a new folder for the results.")],
    target: Annotated[str, typer.Option(help="Chooses the classes: top1, numbers as 208,324, or none.")] = "none",
    frames: Annotated[
        int | None,
        typer.Option(
            help="Sets the number of frames; by default 32 of the film, or what a network of clips takes.", min=1
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(help="Sets into how many clips the film is cut, for a network of clips.", min=1)
    ] = 1,
    joint: Annotated[
        bool, typer.Option("--joint", help="Finds one filter over all frames, which says which frame matters.")
    ] = False,
    layer: Layer = None,
    others: WeightOfOthers = "sum",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replaces earlier results.")] = False,
    *,
    network: Network,
) -> None:
    """Show where a network looks in a film, frame by frame, as MP4, GIF and film strip."""
    loaded = network()
    caf = L2CAF(loaded.model, layer, objective=ClassSpecific(others), joint=joint)
    run = partial(explain_film, sampling=Sampling(frames, clips, parse_target(target)), overwrite=overwrite)
    with progress() as report:
        folder = run(path, loaded, caf, output, report=report("frames"))
    typer.echo(str(folder / "attention.mp4"))


@with_network(size=LEFT_OUT, mean=LEFT_OUT, std=LEFT_OUT, fit=LEFT_OUT)
def volume(
    path: Annotated[Path, typer.Argument(metavar="SCAN", help="Names a NIfTI file: .nii, .nii.gz.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Names a new folder for the results.")],
    target: Annotated[str, typer.Option(help="Chooses the classes: top1, numbers as 208,324, or none.")] = "none",
    shape: Annotated[
        str | None, typer.Option(help="Sets the size that the network takes, as 64,128,128; by default the scan's.")
    ] = None,
    layer: Layer = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replaces earlier results.")] = False,
    *,
    network: Network,
) -> None:
    """Show where a network looks in a scan, as slices, projections and a NIfTI map.

    Of a segmentation, for its classes' scores averaged over the scan.
    """
    size, wanted = _shape(shape), parse_target(target)
    caf = L2CAF(network().model, layer, output=scores_of_volume)
    folder = explain_volume(path, caf, output, size=size, target=wanted, overwrite=overwrite)
    typer.echo(str(folder / "slices.png"))


def _shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        depth, height, width = map(int, text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no shape such as 64,128,128") from error
    return depth, height, width
