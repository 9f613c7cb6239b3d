"""The command that judges maps by boxes."""

from pathlib import Path
from typing import Annotated

import typer

from l2caf.cli.options import Layer, Network, progress, with_network
from l2caf.data.sets import read_boxed
from l2caf.evaluation.maps import Predictions, write_maps


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
