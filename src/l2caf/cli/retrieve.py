"""The command that searches a folder of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from l2caf.cli.options import Layer, Network, progress, with_network
from l2caf.jobs.retrieve import SearchOptions
from l2caf.jobs.retrieve import retrieve as run_retrieve
from l2caf.retrieval.search import Similarity


@with_network()
def retrieve(
    query: Annotated[Path, typer.Argument(help="Names the picture to search for.")],
    gallery: Annotated[Path, typer.Option(help="Names the folder of pictures to search.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Names a new folder for the results.")],
    k: Annotated[int, typer.Option("-k", help="Sets the number of matches.", min=1)] = 5,
    metric: Annotated[Similarity, typer.Option(help="Chooses how embeddings are compared.")] = "cosine",
    layer: Layer = None,
    cache: Annotated[
        Path | None, typer.Option(help="Names the folder that keeps embeddings; by default ~/.cache/l2caf.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Sets the number of pictures per pass.", min=1)] = 16,
    workers: Annotated[int, typer.Option(help="Sets how many processes read pictures.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replaces earlier results.")] = False,
    *,
    network: Network,
) -> None:
    """Find the pictures of a folder that are most like one, and what makes them so."""
    options = SearchOptions(k, metric, layer, cache, batch_size, workers, overwrite)
    with progress() as report:
        found = run_retrieve(query, gallery, network(), output, options, report=report("pictures"))
    notes = [found.note] * bool(found.note) + [f"left out {file}: a copy" for file in found.copies]
    for line in [*notes, *(f"skipped {name}: {reason}" for name, reason in found.skipped)]:
        typer.echo(line, err=True)
    for match in found.matches:
        typer.echo(f"{match.score:.4f}\t{match.file}")
    typer.echo(str(found.folder / "index.html"))
    raise typer.Exit(1 if found.skipped else 0)
