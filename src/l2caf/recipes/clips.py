"""Train the Figure 8 network on DigitClips, and say how well it retrieves.

    python -m l2caf.recipes.clips --output runs/clips --seeds 0,1,2

The features of the frozen digit classifier are computed once per set of clips; what learns is the shallow CNN, the LSTM
and the embedding, by semi-hard triplets. A run takes a few minutes on one core.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l2caf.data.digit_clips import DigitClips
from l2caf.data.digit_scenes import SceneSplit
from l2caf.models.clips import ClipEmbedder
from l2caf.models.embedded import digits
from l2caf.retrieval import nmi, recall_at
from l2caf.retrieval.losses import loss_named
from l2caf.training import Feed, Options, Result, Task, fit
from l2caf.training.loop import BEST

WEIGHTS: Final = "clips.safetensors"  # of the shallow CNN, the LSTM and the embedding
LENGTHS: Final[Mapping[SceneSplit, int]] = {"train": 1200, "validation": 160, "test": 160}


@dataclass(frozen=True, slots=True)
class Features:
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
def features_of(split: SceneSplit, length: int) -> Features:
    """The features of a split's first clips under the embedded digit classifier."""
    trunk, clips = digits().features, DigitClips(split, length=length)
    maps, labels = [], []
    with torch.no_grad():
        for index in range(length):
            clip = clips[index]
            maps.append(trunk(as_inputs(clip.frames)).half())
            labels.append(clip.label)
    return Features(torch.stack(maps), torch.tensor(labels))


def as_inputs(frames: Any) -> Float[Tensor, "t 3 h w"]:
    """Frames (t, h, w, 3) in [0, 255] as the digit classifier takes them."""
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25


def figures(model: nn.Module, features: Features) -> dict[str, float]:
    """Retrieval figures of a network on a set of clips.

    Args:
        model: from features to embeddings.
        features: of the clips.

    Returns:
        `recall_at_1` and `nmi` of normalised embeddings, in [0, 1].
    """
    with torch.no_grad():
        raw = torch.cat([model(part.float()) for part in features.maps.split(32)])
    embeddings = nn.functional.normalize(raw)
    return {
        "recall_at_1": recall_at(embeddings, features.labels, (1,))[1],
        "nmi": nmi(embeddings, features.labels),
    }


def train_clips(
    options: Options,
    output: Path,
    *,
    resume: bool = False,
    lengths: Mapping[SceneSplit, int] = LENGTHS,
    report: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Result:
    """Train one network; its weights lie in the folder as `clips.safetensors`.

    Args:
        options: how.
        output: folder of the run.
        resume: take up a run that stopped.
        lengths: clips per split.
        report: called with steps done and in all.

    Returns:
        What the run came to; the figure of merit is 1 - Recall@1 on the validation clips.

    Raises:
        TrainingError: if the run cannot be started, taken up or go on.
    """
    validation = features_of("validation", lengths["validation"])
    ranking = loss_named("triplet")

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        maps, labels = batch
        return ranking(model(maps), labels)

    def validate(model: nn.Module) -> dict[str, float]:
        return {"miss": 1 - figures(model, validation)["recall_at_1"]}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = ClipEmbedder()
    feed = Feed(features_of("train", lengths["train"]), 64, options.seed)
    task = Task(model, feed, loss, validate, merit="miss", settings={"clips": dict(lengths)})
    result = fit(task, options, output, resume=resume, report=report)
    save_file({name: tensor.half() for name, tensor in load_file(output / BEST).items()}, output / WEIGHTS)
    return result


def trained(weights: Path, *, frames: bool = True) -> ClipEmbedder:
    """A trained network in eval mode.

    Args:
        weights: `clips.safetensors`.
        frames: with the digit classifier's trunk in front, so that it takes frames; else their features.

    Returns:
        The network, float32.
    """
    model = ClipEmbedder(digits().features if frames else None)
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=False)
    return model.eval()


def default_options(seed: int, steps: int = 300) -> Options:
    """The options of the committed figures."""
    return Options(steps, learning_rate=2e-3, optimiser="adamw", weight_decay=1e-2, seed=seed, save_every=1000)


def main() -> None:
    """Train a network per seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        train_clips(default_options(seed, arguments.steps), arguments.output / f"seed{seed}", resume=True)


if __name__ == "__main__":
    main()
