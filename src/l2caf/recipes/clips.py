"""The recipe of the Figure 8 network: retrieval of clips by the events in them, learnt from DigitClips.

    python -m l2caf.recipes.clips --output runs/clips --seeds 0,1,2

The features of the frozen digit classifier are computed once per set of clips. The shallow CNN, the LSTM and the
embedding learn from them by semi-hard triplets. A run takes a few minutes on one core and ends with
clips.safetensors, the weights with the highest Recall@1 on the validation clips.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf.data.digit_clips import DigitClips
from l2caf.data.digit_scenes import SceneSplit
from l2caf.models.clips import ClipEmbedder
from l2caf.models.embedded import digits
from l2caf.recipes.digits import to_inputs
from l2caf.recipes.recipe import Preparation, seeded, train, write_half
from l2caf.retrieval import nmi, recall_at
from l2caf.retrieval.losses import loss_named
from l2caf.training import Feed, Options, Task
from l2caf.training.loop import BEST

WEIGHTS: Final = "clips.safetensors"  # of the shallow CNN, the LSTM and the embedding
LENGTHS: Final[dict[SceneSplit, int]] = {"train": 1200, "validation": 160, "test": 160}
BATCH: Final = 64  # clips


@dataclass(frozen=True, slots=True)
class ClipRecipe:
    """Train the Figure 8 network on features of clips.

    Attributes:
        lengths: the number of clips in each split.
    """

    lengths: Mapping[SceneSplit, int] = field(default_factory=LENGTHS.copy)

    def prepare(self, options: Options) -> Preparation:
        """Compute the features and build the network, as `Recipe.prepare` says."""
        validation = features_of("validation", self.lengths["validation"])
        ranking = loss_named("triplet")

        def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
            maps, labels = batch
            return ranking(model(maps), labels)

        def validate(model: nn.Module) -> dict[str, float]:
            return {"miss": 1 - figures(model, validation)["recall_at_1"]}

        with seeded(options.seed):
            model = ClipEmbedder()
        feed = Feed(features_of("train", self.lengths["train"]), BATCH, options.seed)
        task = Task(model, feed, loss, validate, merit="miss", settings={"clips": dict(self.lengths)})
        return Preparation(task, options, lambda folder: write_half(folder / WEIGHTS, load_file(folder / BEST)))


def default_options(seed: int, steps: int = 300) -> Options:
    """The options with which the committed figures were made."""
    return Options(steps, learning_rate=2e-3, optimiser="adamw", weight_decay=1e-2, seed=seed, save_every=1000)


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Clips as a frozen CNN sees them.

    Attributes:
        maps: (n, t, 128, 14, 14), half precision.
        labels: (n,) classes.
    """

    maps: Float[Tensor, "n t c h w"]
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.maps[index].float(), self.labels[index]


@cache
def features_of(split: SceneSplit, length: int) -> ClipFeatures:
    """The features of a split's first clips under the embedded digit classifier."""
    trunk, clips = digits().features, DigitClips(split, length=length)
    maps, labels = [], []
    with torch.no_grad():
        for index in range(length):
            clip = clips[index]
            maps.append(trunk(as_inputs(clip.frames)).half())
            labels.append(clip.label)
    return ClipFeatures(torch.stack(maps), torch.tensor(labels))


def as_inputs(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t 3 h w"]:
    """Frames (t, h, w, 3) in [0, 255] as the digit classifier takes them."""
    return to_inputs(torch.from_numpy(frames).permute(0, 3, 1, 2))


def figures(model: nn.Module, features: ClipFeatures) -> dict[str, float]:
    """How well a network retrieves clips by their features: `recall_at_1` and `nmi`, in [0, 1]."""
    with torch.no_grad():
        raw = torch.cat([model(part.float()) for part in features.maps.split(32)])
    embeddings = nn.functional.normalize(raw)
    labels = features.labels
    return {"recall_at_1": recall_at(embeddings, labels, (1,))[1], "nmi": nmi(embeddings, labels)}


def trained(weights: Path, *, frames: bool = True) -> ClipEmbedder:
    """A trained network in eval mode.

    Args:
        weights: the file `clips.safetensors` of a run.
        frames: True puts the digit classifier's trunk in front, so that the network takes frames; False gives a network
            that takes their features.

    Returns:
        The network, float32.
    """
    model = ClipEmbedder(digits().features if frames else None)
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=False)
    return model.eval()


def main() -> None:
    """Train one network for each seed; runs that stopped are continued."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        train(ClipRecipe(), default_options(seed, arguments.steps), arguments.output / f"seed{seed}", resume=True)


if __name__ == "__main__":
    main()
