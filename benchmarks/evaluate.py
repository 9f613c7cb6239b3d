"""What judging maps costs beside merely classifying: `l2caf evaluate` with three methods, and a plain evaluation loop.

    python -m benchmarks.evaluate --output out/bench [--data csv:ROOT] [--network resnet50]

Both read the same pictures with the same loader and settings, in turn. The loop is a forward pass and its top-1 and
top-5 accuracy; the evaluation adds CAM, Grad-CAM and L2-CAF, their boxes, MaxBoxAcc and MaxBoxAccV2, the pointing
games, and writes maps and results. Weights are random: they decide nothing here.
"""

import argparse
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import interleaved, machine, ratios
from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.data.feeding import PictureFiles, fed, in_turn
from l2caf.data.sets import read_boxed
from l2caf.evaluation import DEFAULT_METRICS, PROTOCOLS
from l2caf.evaluation.judge import judge
from l2caf.evaluation.maps import MapOptions, write_maps
from l2caf.methods.registry import methods
from l2caf.models import LoadedModel, load

METHODS = ["cam", "gradcam", "l2caf"]
BATCH = 16


def plain(boxed: BoxedSet, loaded: LoadedModel) -> None:
    """Top-1 and top-5 accuracy."""
    files = PictureFiles([picture.file for picture in boxed.pictures])
    right = torch.zeros(2)
    with (
        torch.inference_mode(),
        fed(files, loaded.card.feeding, in_turn(range(len(files)), BATCH), workers=0) as batches,
    ):
        for batch in batches:
            scores = loaded.model(batch.inputs)
            labels = torch.tensor([boxed.pictures[number].label for number in batch.numbers])
            hits = scores.topk(5).indices == labels[:, None]
            right += torch.stack([hits[:, 0].sum(), hits.any(1).sum()])


def judged(boxed: BoxedSet, loaded: LoadedModel, folder: Path, *, metrics: tuple[str, ...]) -> None:
    """A whole evaluation into a fresh folder."""
    shutil.rmtree(folder, ignore_errors=True)
    write_maps(boxed, loaded, methods(METHODS, loaded.model), folder, MapOptions(batch_size=BATCH))
    judge(boxed, folder, [PROTOCOLS["cam-paper"]], metrics=metrics)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", help="a boxed data set; else scenes of digits")
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    loaded = load(arguments.network, pretrained=False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        boxed = read_boxed(arguments.data) if arguments.data else boxed_digits(folder / "scenes", length=128, seed=0)
        seconds = interleaved(
            {
                "plain loop": partial(plain, boxed, loaded),
                "evaluate": partial(judged, boxed, loaded, folder / "run", metrics=DEFAULT_METRICS),
                "evaluate --metrics none": partial(judged, boxed, loaded, folder / "run", metrics=()),
            },
            arguments.repetitions,
        )
    cost = ratios(seconds, "plain loop")
    result = {
        "machine": machine(), "network": arguments.network, "pictures": len(boxed.pictures), "methods": METHODS,
        "plain_s_per_picture": min(seconds["plain loop"]) / len(boxed.pictures), "cost": cost,
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "evaluate.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
