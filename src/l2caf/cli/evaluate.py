"""The command that judges maps by boxes."""

from pathlib import Path
from typing import Annotated

import typer

from l2caf.cli.options import Layer, Network, progress, with_network
from l2caf.data.sets import read_boxed
from l2caf.evaluation import DEFAULT_METRICS, METRICS, PROTOCOLS
from l2caf.evaluation.maps import MapOptions, Predictions, write_maps
from l2caf.methods import methods as named_methods
from l2caf.retrieval.search import nearest_others


@with_network()
def evaluate(
    dataset: Annotated[
        str,
        typer.Option(
            "--data",
            help="Names the pictures with boxes: cub:ROOT, ilsvrc:ROOT, wsol:ROOT, csv:ROOT, a folder, or your own "
            "package.module:name:ROOT.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Names the folder for maps and results; a run that is there is continued."),
    ],
    methods: Annotated[
        str,
        typer.Option(help="Names the methods to judge, such as cam,l2caf,torchcam:LayerCAM,my_package:method."),
    ] = "cam,gradcam,l2caf",
    protocols: Annotated[str, typer.Option(help="Names the box rules, or all.")] = "cam-paper",
    layer: Layer = None,
    class_offset: Annotated[
        int, typer.Option(help="Index of the network output for class 0 (1 where output 0 is background).")
    ] = 0,
    predictions: Annotated[
        Predictions,
        typer.Option(
            help="Which maps to compute: those of the true class, plus those of the top-1 or top-5 predictions; none "
            "for embeddings."
        ),
    ] = "true",
    batch_size: Annotated[int, typer.Option(help="Sets the number of pictures per pass of the network.", min=1)] = 16,
    workers: Annotated[int, typer.Option(help="Sets how many processes read pictures.", min=0)] = 2,
    metrics: Annotated[
        str,
        typer.Option(
            help="Names the metrics of maps, which come beside those of boxes, also my_package:metric; or none."
        ),
    ] = ",".join(DEFAULT_METRICS),
    *,
    network: Network,
) -> None:
    """Judge methods by the boxes their maps give: GT-known, Top-1, Top-5, MaxBoxAcc, MaxBoxAccV2, pointing games."""
    from l2caf.evaluation.judge import judge  # noqa: PLC0415  (an extra)
    from l2caf.evaluation.results import as_markdown  # noqa: PLC0415

    rules = [PROTOCOLS[name] for name in (PROTOCOLS if protocols == "all" else protocols.split(","))]
    figures = [] if metrics == "none" else metrics.split(",")
    for name in figures:
        METRICS[name]  # raises for an unknown metric now rather than after the maps
    boxed = read_boxed(dataset)
    loaded = network()
    chosen = named_methods(methods.split(","), loaded.model, layer)
    with progress() as report:
        options = MapOptions(layer, class_offset, predictions, batch_size, workers)
        write_maps(boxed, loaded, chosen, output, options, report("pictures"))
    evaluation = judge(boxed, output, rules, metrics=figures, nearest=nearest_others, loaded=loaded)
    for file in boxed.missing:
        typer.echo(f"missing {file}", err=True)
    for name, reason in evaluation.skipped:
        typer.echo(f"skipped {name}: {reason}", err=True)
    typer.echo(as_markdown(evaluation))
    typer.echo(str(output / "results.md"))
    raise typer.Exit(1 if evaluation.skipped or boxed.missing else 0)
