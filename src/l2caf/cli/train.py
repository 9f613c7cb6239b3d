"""Commands that train networks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from l2caf.cli.options import Device, Size, progress, sharing
from l2caf.training import Options, Precision

app = typer.Typer(no_args_is_help=True, help="Train networks.")


@dataclass(frozen=True, slots=True)
class Common:
    """What every training asks alike."""

    batch_size: Annotated[int, typer.Option(help="Pictures per step.", min=1)] = 32
    workers: Annotated[int, typer.Option(help="Processes that read pictures.", min=0)] = 0
    size: Size = None
    device: Device = "cpu"
    precision: Annotated[Precision, typer.Option(help="no, bf16 or fp16.")] = "no"
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 200
    pretrained: Annotated[bool, typer.Option(help="Start from ImageNet's weights, not at random.")] = True
    backbone: Annotated[Path | None, typer.Option(help="Their file; else the library's download.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Take up a run that stopped.")] = False

    @property
    def feeding(self) -> dict[str, Any]:
        """What a request takes of it."""
        names = ("batch_size", "workers", "size", "pretrained", "backbone")
        return {name: getattr(self, name) for name in names}

    @property
    def running(self) -> dict[str, Any]:
        """What options take of it."""
        return {name: getattr(self, name) for name in ("precision", "device", "seed", "save_every")}


@app.command()
@sharing("common", Common)
def wsol(
    dataset: Annotated[str, typer.Option("--data", help="cub:ROOT, ilsvrc:ROOT, a folder per class, or digits.")],
    arch: Annotated[str, typer.Option(help="vgg16-gap, resnet50-se, googlenet or digits.")],
    method: Annotated[str, typer.Option(help="gap, adl or acol.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    steps: Annotated[int, typer.Option(help="Batches to learn from; else as many as --epochs takes.", min=0)] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.", min=1)] = 50,
    learning_rate: Annotated[float, typer.Option(help="Of the trunk; new layers learn ten times as fast.")] = 1e-3,
    *,
    common: Callable[[], Common],
) -> None:
    """Fine-tune a network for localisation by GAP, ADL or ACoL, as in Table 2."""
    from l2caf.recipes.wsol import WEIGHTS, Request, network  # noqa: PLC0415  (an extra)
    from l2caf.recipes.wsol import train_wsol as run_training  # noqa: PLC0415

    asked = common()
    request = Request(dataset, network(arch, method), epochs, **asked.feeding)
    options = Options(steps, learning_rate, **asked.running)
    with progress() as report:
        result = run_training(request, options, output, resume=asked.resume, report=report("steps"))
    typer.echo(f"top-1 error {result.best:.2%} at step {result.best_step}")
    typer.echo(str(output / WEIGHTS))


@app.command()
@sharing("common", Common)
def retrieval(
    dataset: Annotated[str, typer.Option("--data", help="cub:ROOT, cars:ROOT, sop:ROOT, folder:ROOT, or digits.")],
    arch: Annotated[str, typer.Option(help="resnet50, googlenet, digits, or any other network's name.")],
    loss: Annotated[str, typer.Option(help="triplet or npair.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    steps: Annotated[int, typer.Option(help="Batches to learn from.", min=1)] = 5000,
    dimensions: Annotated[int, typer.Option(help="Of the embedding.", min=1)] = 128,
    learning_rate: Annotated[
        float, typer.Option(help="Of the trunk; the linear layer learns ten times as fast.")
    ] = 1e-4,
    *,
    common: Callable[[], Common],
) -> None:
    """Train an embedding network by triplets or N-pairs, as in Table 3."""
    from l2caf.recipes.retrieval import Request, train_retrieval  # noqa: PLC0415  (an extra)
    from l2caf.recipes.wsol import WEIGHTS  # noqa: PLC0415

    asked = common()
    request = Request(dataset, arch, loss, dimensions, **asked.feeding)
    options = Options(steps, learning_rate, optimiser="adamw", **asked.running)
    with progress() as report:
        result = train_retrieval(request, options, output, resume=asked.resume, report=report("steps"))
    typer.echo(f"Recall@1 {1 - result.best:.1%} at step {result.best_step}, on pictures that were not learnt from")
    typer.echo(str(output / WEIGHTS))
