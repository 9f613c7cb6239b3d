"""The command that looks after data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from l2caf.data.boxed import Split
from l2caf.data.pictures import unreadable
from l2caf.data.sets import data_set, has_boxes, read_boxed, read_retrieval

SHOWN_FAULTS: Final = 20


def check(
    root: Annotated[
        str,
        typer.Argument(
            help="Data set to check: cub:ROOT, ilsvrc:ROOT, wsol:ROOT, csv:ROOT, or a folder in one of these layouts; "
            "for retrieval cars:ROOT, sop:ROOT, folder:ROOT; package.module:NAME:ROOT for a data set of your own."
        ),
    ],
) -> None:
    """Say what is found of a data set and what is missing."""
    name = root.rpartition(":")[0]
    if name and not has_boxes(data_set(name)):
        n_faults = sum(_check_split(root, split, data_set(name).source) for split in get_args(Split))
        raise typer.Exit(1 if n_faults else 0)
    boxed = read_boxed(root)
    n_boxes = sum(len(picture.boxes) for picture in boxed.pictures)
    n_classes = len({picture.label for picture in boxed.pictures})
    typer.echo(f"{boxed.name}: {len(boxed.pictures)} pictures of {n_classes} classes, {n_boxes} boxes")
    if boxed.n_unboxed:
        typer.echo(f"{boxed.n_unboxed} pictures have no box and are left out")
    source = data_set(name or boxed.name).source
    n_faults = _report(boxed.missing, [picture.file for picture in boxed.pictures], f"{boxed.name}: {source}")
    raise typer.Exit(1 if n_faults else 0)


def _check_split(root: str, split: Split, source: str) -> int:
    """Report on the classes of one split of a retrieval set; return how many faults it has."""
    found = read_retrieval(root, split)
    distinct, copies = found.without_copies()
    n_classes = len(set(found.labels.tolist()))
    typer.echo(f"{found.name}, to {split}: {len(found.pictures)} pictures of {n_classes} classes")
    faults = [*(f"a copy {file}" for file in copies), *(f"the only picture of {name}" for name in distinct.lone)]
    for line in faults[:SHOWN_FAULTS]:
        typer.echo(line, err=True)
    return len(faults) + _report(found.missing, found.files, f"{found.name}: {source}")


def _report(missing: Sequence[Path], files: Sequence[Path], source: str) -> int:
    """List some of the pictures that are missing or cannot be read; return how many there are."""
    broken = [reason for file in files if (reason := unreadable(file)) is not None]
    for line in [*(f"missing {file}" for file in missing), *broken][:SHOWN_FAULTS]:
        typer.echo(line, err=True)
    if missing or broken:
        typer.echo(f"{len(missing)} pictures are missing and {len(broken)} cannot be read", err=True)
        typer.echo(f"where to get {source}", err=True)
    return len(missing) + len(broken)
