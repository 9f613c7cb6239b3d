"""The recipe of the embedded digit classifier, learnt from DigitScenes.

    python -m l2caf.recipes.digits --weights OUT.safetensors --log OUT.jsonl

Scenes hold one to three digits; the target is uniform over the digits present, so that each of them has a high
logit. Colour channels are shuffled and pictures slightly sheared and scaled, since a thousand handwritten samples
and nine photographs are few. Options were chosen on the validation split; the test split is only read for the last
line of the log.

This recipe has a loop of its own, because the committed weights depend on it: no scene is seen twice, the learning rate
and the momentum follow one cycle, and a run that stops starts anew.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import typer
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from l2caf.data.digit_scenes import DigitScenes, Sample, SceneSplit
from l2caf.models.embedded import DIGITS_CARD, DigitNet
from l2caf.recipes.recipe import write_half

N_CLASSES: Final = 10
EVERY: Final = 250  # steps between lines of the log
N_VALIDATION: Final = 400  # scenes of each kind for a line of the log


@dataclass(frozen=True, slots=True)
class DigitOptions:
    """The options of one run; the defaults are those of the committed weights."""

    steps: int = 4000
    batch: int = 64  # scenes
    learning_rate: float = 4e-3  # the highest
    warm_up: float = 0.15  # share of the steps over which the learning rate rises
    weight_decay: float = 5e-4
    jitter: float = 0.15  # of shear, rotation and scale, as `augmented` takes it
    seed: int = 0
    workers: int = 1  # processes that draw scenes
    n_test: int = 2000  # scenes of each kind


class _Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Scenes as uint8 pictures (3, h, w) and target distributions (10,)."""

    def __init__(self, scenes: DigitScenes) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.scenes[index]
        target = torch.zeros(N_CLASSES)
        target[torch.from_numpy(sample.classes)] = 1 / len(sample.classes)
        return _picture(sample), target


def to_inputs(pictures: Tensor) -> Float[Tensor, "b 3 h w"]:
    """uint8 pictures (b, 3, h, w) as the network takes them."""
    mean, std = DIGITS_CARD.mean or (0.0,), DIGITS_CARD.std or (1.0,)
    return (pictures.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def train(options: DigitOptions) -> tuple[DigitNet, list[dict[str, int | float]]]:
    """Train from scratch.

    Args:
        options: the options of the run.

    Returns:
        The network in eval mode and its log: one line per 250 steps, the last with the test figures.
    """
    torch.manual_seed(options.seed)
    model = DigitNet()
    optimiser = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, options.steps, pct_start=options.warm_up
    )
    log: list[dict[str, int | float]] = []
    start, losses = time.perf_counter(), []
    for step, (pictures, target) in enumerate(_batches(options), 1):
        inputs = augmented(to_inputs(pictures), options.jitter).to(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(model(inputs), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % EVERY == 0 or step == options.steps:
            line = {"step": step, "loss": float(np.mean(losses)), "seconds": time.perf_counter() - start}
            log.append({**line, **evaluate(model, "validation", N_VALIDATION)})
            typer.echo(json.dumps(log[-1]))
            losses.clear()
    log.append({"step": options.steps, **evaluate(model, "test", options.n_test)})
    return model.eval(), log


def augmented(inputs: Float[Tensor, "b 3 h w"], jitter: float) -> Float[Tensor, "b 3 h w"]:
    """Each picture with its channels shuffled and slightly turned, sheared and scaled.

    Args:
        inputs: a batch of pictures.
        jitter: largest deviation of each entry of the linear map from the identity.

    Returns:
        As many pictures of the same size; the border is repeated where the map leaves the picture.
    """
    n = len(inputs)
    order = torch.rand(n, 3).argsort(1)
    shuffled = inputs.gather(1, order[..., None, None].expand_as(inputs))
    linear = torch.eye(2) + (torch.rand(n, 2, 2) * 2 - 1) * jitter
    theta = torch.cat([linear, torch.zeros(n, 2, 1)], 2)
    grid = nn.functional.affine_grid(theta, list(inputs.shape), align_corners=False)
    return nn.functional.grid_sample(shuffled, grid, padding_mode="border", align_corners=False)


def _batches(options: DigitOptions) -> Iterator[tuple[Tensor, Tensor]]:
    scenes = _Scenes(DigitScenes("train", length=options.steps * options.batch, seed=options.seed))
    return iter(DataLoader(scenes, options.batch, num_workers=options.workers, drop_last=True))


def evaluate(model: DigitNet, split: SceneSplit, n: int) -> dict[str, float]:
    """Accuracies on held-out scenes.

    Args:
        model: the network; it is left in the mode it is in.
        split: the split that the scenes are drawn from.
        n: the number of scenes with one digit, and of scenes with two.

    Returns:
        `single`: share of one-digit scenes whose highest logit is the digit's; `pair`: share of two-digit scenes
        whose two highest are the two digits'; `peak`: share of their digits whose class activation map is highest
        inside the digit's own box.
    """
    was_training = model.training
    model.eval()
    single, pair, peak = [], [], []
    with torch.no_grad():
        alone, pairs = (DigitScenes(split, length=n, objects=count, seed=1) for count in (1, 2))
        for index in range(n):
            sample = alone[index]
            single.append(int(model(to_inputs(_picture(sample)[None])).argmax()) == int(sample.classes[0]))
            sample = pairs[index]
            features = model.features(to_inputs(_picture(sample)[None]))
            logits = model.classifier(model.pool(features).flatten(1))
            pair.append(set(logits[0].topk(2).indices.tolist()) == set(sample.classes.tolist()))
            peak += _peaks(model, features, sample)
    model.train(was_training)
    shares = {"single": single, "pair": pair, "peak": peak}
    return {f"{kind}_{split}": float(np.mean(hits)) for kind, hits in shares.items()}


def _picture(sample: Sample) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1)


def _peaks(model: DigitNet, features: Float[Tensor, "1 c h w"], sample: Sample) -> list[bool]:
    weights = model.classifier.weight[torch.from_numpy(sample.classes)]
    maps = torch.einsum("kc,chw->khw", weights, features[0])
    stride = sample.image.shape[1] / maps.shape[-1]
    hits = []
    for one, (x0, y0, x1, y1) in zip(maps, sample.boxes, strict=True):
        row, column = divmod(int(one.argmax()), one.shape[1])
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        hits.append(bool(x0 <= x < x1 and y0 <= y < y1))
    return hits


def main() -> None:
    """Train, then write weights (float16) and log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=DigitOptions().steps)
    arguments = parser.parse_args()
    options = DigitOptions(steps=arguments.steps)
    model, log = train(options)
    write_half(arguments.weights, model.state_dict())
    lines = [{"options": asdict(options), "torch": torch.__version__}, *log]
    arguments.log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
