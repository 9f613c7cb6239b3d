"""Commands that train networks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from l2caf.cli.options import Device, Size, progress, sharing
from l2caf.recipes.recipe import WEIGHTS, Recipe, train
from l2caf.training import Options, Precision, Result

app = typer.Typer(no_args_is_help=True, help="Train networks.")
Run = Annotated[
    Path, typer.Option("--output", "-o", help="Write checkpoints, log, weights and model card to this folder.")
]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options that every command of training takes."""

    batch_size: Annotated[int, typer.Option(help="Learn from this many pictures per step.", min=1)] = 32
    workers: Annotated[int, typer.Option(help="Read pictures in this many processes besides the training.", min=0)] = 0
    size: Size = None
    device: Device = "cpu"
    precision: Annotated[Precision, typer.Option(help="Compute the forward pass in this precision.")] = "no"
    seed: Annotated[int, typer.Option(help="Draw new layers, batches and augmentation from this seed.", min=0)] = 0
    save_every: Annotated[int, typer.Option(help="Write a checkpoint after every so many steps.", min=1)] = 200
    pretrained: Annotated[
        bool, typer.Option(help="Start from the classifier's weights (ImageNet's; for digits, the embedded ones).")
    ] = True
    backbone: Annotated[
        Path | None, typer.Option(help="Read these weights from a file; by default they are downloaded.")
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that stopped in the output folder.")] = False

    @property
    def reading(self) -> dict[str, Any]:
        """Those that every recipe takes which learns from pictures."""
        return {name: getattr(self, name) for name in ("batch_size", "workers", "size", "pretrained", "backbone")}

    @property
    def running(self) -> dict[str, Any]:
        """Those that `training.Options` takes."""
        return {name: getattr(self, name) for name in ("precision", "device", "seed", "save_every")}

    def train(self, recipe: Recipe, options: Options, output: Path) -> Result:
        """Train with a bar of progress on stderr."""
        with progress() as report:
            return train(recipe, options, output, resume=self.resume, report=report("steps"))


@app.command()
@sharing("common", TrainingOptions)
def wsol(
    dataset: Annotated[
        str, typer.Option("--data", help="Learn from cub:ROOT, ilsvrc:ROOT, a folder with one per class, or digits.")
    ],
    arch: Annotated[str, typer.Option(help="Build on the trunk vgg16-gap, resnet50-se, googlenet or digits.")],
    method: Annotated[str, typer.Option(help="Train by the method gap, adl or acol.")],
    output: Run,
    steps: Annotated[
        int, typer.Option(help="Learn from this many batches; 0 for as many as --epochs takes.", min=0)
    ] = 0,
    epochs: Annotated[int, typer.Option(help="Pass over the pictures this many times, if --steps is 0.", min=1)] = 50,
    learning_rate: Annotated[
        float, typer.Option(help="Train the trunk with this learning rate; new layers get ten times as much.")
    ] = 1e-3,
    *,
    common: Callable[[], TrainingOptions],
) -> None:
    """Fine-tune a network for localisation by GAP, ADL or ACoL, as in Table 2."""
    from l2caf.recipes.wsol import LocalisationRecipe, network  # noqa: PLC0415  (an extra)

    asked = common()
    recipe = LocalisationRecipe(dataset, network(arch, method), epochs=epochs, **asked.reading)
    result = asked.train(recipe, Options(steps, learning_rate, **asked.running), output)
    typer.echo(f"top-1 error {result.best:.2%} at step {result.best_step}")
    typer.echo(str(output / WEIGHTS))


@app.command()
@sharing("common", TrainingOptions)
def retrieval(
    dataset: Annotated[
        str, typer.Option("--data", help="Learn from cub:ROOT, cars:ROOT, sop:ROOT, folder:ROOT, or digits.")
    ],
    arch: Annotated[
        str, typer.Option(help="Build on the trunk resnet50, googlenet, digits, or any other network's name.")
    ],
    loss: Annotated[str, typer.Option(help="Train by the ranking loss triplet or npair.")],
    output: Run,
    steps: Annotated[int, typer.Option(help="Learn from this many batches.", min=1)] = 5000,
    dimensions: Annotated[int, typer.Option(help="Embed pictures as vectors of this length.", min=1)] = 128,
    learning_rate: Annotated[
        float,
        typer.Option(help="Train the trunk with this learning rate; the linear layer gets ten times as much."),
    ] = 1e-4,
    *,
    common: Callable[[], TrainingOptions],
) -> None:
    """Train an embedding network by triplets or N-pairs, as in Table 3."""
    from l2caf.recipes.retrieval import RetrievalRecipe  # noqa: PLC0415  (an extra)

    asked = common()
    recipe = RetrievalRecipe(dataset, arch, loss, dimensions=dimensions, **asked.reading)
    result = asked.train(recipe, Options(steps, learning_rate, optimiser="adamw", **asked.running), output)
    typer.echo(f"Recall@1 {1 - result.best:.1%} at step {result.best_step}, on pictures that were not learnt from")
    typer.echo(str(output / WEIGHTS))
