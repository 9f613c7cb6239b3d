"""The scheme of a training, on a toy that is not part of the package."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf.errors import TrainingError
from l2caf.models import ModelCard
from l2caf.recipes.recipe import PictureRecipe, Preparation, publish_with_card, seeded, train, write_half
from l2caf.training import Feed, Options, Task

OPTIONS = Options(steps=0, learning_rate=0.1, save_every=2, log_every=1)


class Brightness:
    """Grey pictures; the class says whether one is bright."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((1, 2, 2), float(index % 2)), index % 2


def cross_entropy(model: nn.Module, batch: list[Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@dataclass(frozen=True, slots=True)
class ToyRecipe(PictureRecipe):
    """A linear classifier of brightness."""

    epochs: int

    def prepare(self, options: Options) -> Preparation:
        with seeded(options.seed):
            model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        feed = Feed(Brightness(), self.batch_size, options.seed)
        options = replace(options, steps=options.steps or self.epochs * feed.steps_per_epoch)
        card = ModelCard(model="toy", labels=("dark", "bright"))
        return Preparation(Task(model, feed, cross_entropy, self.error), options, partial(publish_with_card, card=card))

    def error(self, model: nn.Module) -> dict[str, float]:
        wrong = sum(int((outputs.argmax(1) != labels).sum()) for outputs, labels in self.answers(model, Brightness()))
        return {"top1_error": wrong / 6}


def test_a_recipe_from_outside_is_trained_published_and_continued(tmp_path: Path) -> None:
    recipe, steps = ToyRecipe(8, batch_size=3), []
    result = train(recipe, OPTIONS, tmp_path / "run", report=lambda done, total: steps.append((done, total)))
    assert result.best == 0
    assert steps[-1] == (16, 16)
    best, published = (load_file(tmp_path / "run" / name) for name in ("best.safetensors", "weights.safetensors"))
    assert best["1.weight"].equal(published["1.weight"])
    card = json.loads((tmp_path / "run" / "weights.json").read_text(encoding="utf-8"))
    assert card == {"model": "toy", "labels": ["dark", "bright"], "arguments": {}}
    with pytest.raises(TrainingError, match="holds a run; take it up with --resume"):
        train(recipe, OPTIONS, tmp_path / "run")
    assert train(recipe, OPTIONS, tmp_path / "run", resume=True).best_step == result.best_step


def test_answers_cover_every_picture_once_in_order() -> None:
    pooling = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    nn.init.constant_(pooling[1].weight, 0.25)
    outputs, labels = map(torch.cat, zip(*ToyRecipe(1, batch_size=4).answers(pooling, Brightness()), strict=True))
    assert outputs[:, 0].tolist() == labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert not outputs.requires_grad


def test_a_seed_neither_depends_on_nor_moves_the_callers_random_state() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)


def test_half_precision_leaves_integers_alone(tmp_path: Path) -> None:
    write_half(tmp_path / "w.safetensors", {"weight": torch.rand(3, 2).T, "count": torch.tensor(2**20)})
    written = load_file(tmp_path / "w.safetensors")
    assert (written["weight"].dtype, written["weight"].shape) == (torch.float16, (2, 3))
    assert written["count"].item() == 2**20
