"""Commands that judge maps, and look after data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from l2caf.cli.options import Layer, Network, progress, with_network
from l2caf.data.boxed import SOURCES, BoxedPicture, Split, read_boxed
from l2caf.data.pictures import unreadable
from l2caf.data.retrieval_sets import SOURCES as RETRIEVAL_SETS
from l2caf.data.retrieval_sets import read_retrieval
from l2caf.evaluation.maps import Predictions, write_maps

SHOWN_FAULTS: Final = 20


@with_network()
def evaluate(
    dataset: Annotated[str, typer.Option("--data", help="cub:ROOT, ilsvrc:ROOT, wsol:ROOT, csv:ROOT, or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for maps and results; taken up if it exists.")],
    methods: Annotated[str, typer.Option(help="Such as cam,gradcam,l2caf,torchcam:LayerCAM.")] = "cam,gradcam,l2caf",
    protocols: Annotated[str, typer.Option(help="Box rules, or all.")] = "cam-paper",
    layer: Layer = None,
    class_offset: Annotated[int, typer.Option(help="The network's output for class 0: 1 where 0 is background.")] = 0,
    predictions: Annotated[
        Predictions, typer.Option(help="Also maps and boxes of the first guesses; none for embeddings.")
    ] = "true",
    batch_size: Annotated[int, typer.Option(help="Pictures per pass.", min=1)] = 16,
    workers: Annotated[int, typer.Option(help="Processes that read pictures.", min=0)] = 2,
    sweep: Annotated[bool, typer.Option(help="Also MaxBoxAcc, MaxBoxAccV2 and the pointing games.")] = True,
    *,
    network: Network,
) -> None:
    """Judge methods by the boxes their maps give: GT-known, Top-1, Top-5, MaxBoxAcc, MaxBoxAccV2, pointing games."""
    from l2caf.evaluation import PROTOCOLS, protocol  # noqa: PLC0415
    from l2caf.evaluation.judge import as_markdown, judge  # noqa: PLC0415  (an extra)
    from l2caf.methods.registry import methods as named_methods  # noqa: PLC0415

    rules = [protocol(name) for name in (PROTOCOLS if protocols == "all" else protocols.split(","))]
    boxed = read_boxed(dataset)
    loaded = network()
    chosen = named_methods(methods.split(","), loaded.model, layer)
    with progress() as report:
        write_maps(
            boxed, loaded, chosen, output,
            layer=layer, class_offset=class_offset, predictions=predictions, batch_size=batch_size, workers=workers,
            report=report("pictures"),
        )  # fmt: skip
    evaluation = judge(boxed, output, rules, sweep=sweep)
    for file in boxed.missing:
        typer.echo(f"missing {file}", err=True)
    for name, reason in evaluation.skipped:
        typer.echo(f"skipped {name}: {reason}", err=True)
    typer.echo(as_markdown(evaluation))
    typer.echo(str(output / "results.md"))
    raise typer.Exit(1 if evaluation.skipped or boxed.missing else 0)


def check(
    root: Annotated[
        str,
        typer.Argument(
            help="cub:ROOT, ilsvrc:ROOT, wsol:ROOT, csv:ROOT, a folder; for retrieval cars:ROOT, sop:ROOT, folder:ROOT."
        ),
    ],
) -> None:
    """Say what is found of a data set, and what is missing."""
    if root.partition(":")[0] in RETRIEVAL_SETS:
        n_faults = sum(_check_split(root, split) for split in get_args(Split))
        raise typer.Exit(1 if n_faults else 0)
    boxed = read_boxed(root)
    n_boxes = sum(len(picture.boxes) for picture in boxed.pictures)
    n_classes = len({picture.label for picture in boxed.pictures})
    typer.echo(f"{boxed.name}: {len(boxed.pictures)} pictures of {n_classes} classes, {n_boxes} boxes")
    if boxed.n_unboxed:
        typer.echo(f"{boxed.n_unboxed} pictures have no box and are left out")
    n_faults = _faults(
        boxed.missing, [picture.file for picture in boxed.pictures], f"{boxed.name}: {SOURCES[boxed.name]}"
    )
    raise typer.Exit(1 if n_faults else 0)


def _check_split(root: str, split: Split) -> int:
    """How much is wrong with a half of the classes of a retrieval set."""
    found = read_retrieval(root, split)
    distinct, copies = found.without_copies()
    n_classes = len(set(found.labels.tolist()))
    typer.echo(f"{found.name}, to {split}: {len(found.pictures)} pictures of {n_classes} classes")
    faults = [*(f"a copy {file}" for file in copies), *(f"the only picture of {name}" for name in distinct.lone)]
    for line in faults[:SHOWN_FAULTS]:
        typer.echo(line, err=True)
    files = [picture.file for picture in found.pictures if isinstance(picture, BoxedPicture)]
    return len(faults) + _faults(found.missing, files, f"{found.name}: {RETRIEVAL_SETS[found.name]}")


def _faults(missing: Sequence[Path], files: Sequence[Path], source: str) -> int:
    """How many pictures are missing or cannot be read; lists some of them."""
    broken = [reason for file in files if (reason := unreadable(file)) is not None]
    for line in [*(f"missing {file}" for file in missing), *broken][:SHOWN_FAULTS]:
        typer.echo(line, err=True)
    if missing or broken:
        typer.echo(f"{len(missing)} pictures are missing and {len(broken)} cannot be read", err=True)
        typer.echo(f"where to get {source}", err=True)
    return len(missing) + len(broken)
