"""The scheme of every training: a recipe says what is learnt from what, and `train` runs it and writes the weights.

A recipe is a small frozen class of options. It reads no data before `prepare` is called. The loop itself, with its
checkpoints, its log and its best weights, is `l2caf.training.fit`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import torch
from safetensors.torch import save
from torch import Tensor, nn

from l2caf import storage
from l2caf.models import ModelCard
from l2caf.progress import Report, silent
from l2caf.training import Options, Result, Task, fit
from l2caf.training.feed import Items, in_order
from l2caf.training.loop import BEST

WEIGHTS: Final = "weights.safetensors"
CARD: Final = "weights.json"


@dataclass(frozen=True, slots=True)
class Preparation:
    """A recipe whose data are read and whose network is built.

    Attributes:
        task: network, batches, loss and validation, as `fit` takes them.
        options: the options of the run, with the number of steps filled in.
        publish: writes the result into the folder of the finished run, under the names that other commands take.
    """

    task: Task
    options: Options
    publish: Callable[[Path], None]


@runtime_checkable
class Recipe(Protocol):
    """What is learnt from what."""

    def prepare(self, options: Options) -> Preparation:
        """Read the data, and build the network before its first step; `steps` 0 asks for the recipe's own number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRecipe:
    """The options that all recipes share which learn from picture files.

    Attributes:
        batch_size: pictures per step.
        workers: processes that read pictures; 0 reads them in the training process.
        size: side of the square input in pixels; None for the network's own.
        pretrained: whether the trunk starts from a classifier's weights (ImageNet's; for digits, the embedded ones)
            or at random.
        backbone: the file of these weights; None for the library's own download.
    """

    batch_size: int = 32
    workers: int = 0
    size: int | None = None
    pretrained: bool = True
    backbone: Path | None = None

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of the input in pixels; None for the network's own."""
        return None if self.size is None else (self.size, self.size)

    def answers(self, model: nn.Module, items: Items) -> Iterator[tuple[Tensor, Tensor]]:
        """A network's outputs (b, n) for every picture once, and the classes (b,), batch by batch, on the CPU."""
        device = next(model.parameters()).device
        for inputs, labels in in_order(items, self.batch_size, self.workers):
            with torch.no_grad():
                outputs = model(inputs.to(device)).float().cpu()
            yield outputs, labels


def train(
    recipe: Recipe,
    options: Options,
    output: Path,
    *,
    resume: bool = False,
    report: Report = silent,
) -> Result:
    """Train one network and write its weights.

    Args:
        recipe: what is learnt from what.
        options: how the network is trained; `steps` 0 stands for the recipe's own number of steps.
        output: the folder of the run, which is created.
        resume: whether a run that stopped in this folder is continued.
        report: called with the number of steps done and the number of steps in all.

    Returns:
        The least figure of merit, the step at which it was reached, and the log. The weights lie in the folder.

    Raises:
        TrainingError: if an option is out of range, or the run cannot be started, continued or finished.
        DataError: if the data cannot be read, or do not suffice to learn and to validate.
        WeightsError: if the weights to start from cannot be had.
        ExtraMissingError: if a library that the recipe needs is not installed.
    """
    prepared = recipe.prepare(options)
    result = fit(prepared.task, prepared.options, output, resume=resume, report=report)
    prepared.publish(output)
    return result


def publish_with_card(folder: Path, card: ModelCard) -> None:
    """Write the best weights of a finished run and their model card under the names that the command line takes."""
    content = {name: value for name, value in asdict(card).items() if value is not None}
    with storage.whole_file(folder / CARD) as stream:
        stream.write(json.dumps(content, indent=1).encode())
    with storage.whole_file(folder / WEIGHTS) as stream:
        stream.write((folder / BEST).read_bytes())


def write_half(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write weights to a .safetensors file in half precision; integers are written as they are."""
    halved = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state.items()}
    with storage.whole_file(path) as stream:
        stream.write(save(halved))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers on the CPU from a seed, and leave the caller's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
