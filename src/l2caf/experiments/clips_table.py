"""Where video attention points: Grad-CAM, Grad-CAM-abs and L2-CAF on the Figure 8 network, judged frame by frame.

    python -m l2caf.experiments.clips_table --runs runs/clips --output docs/results/video

DigitClips labels the digits that define the event in every frame, with their boxes. A map of a frame hits if its
maximum lies in the box of such a digit (the pointing game, without tolerance). Its IoU is that of the box around its
brightest region, at the threshold that suits the method best, as in MaxBoxAcc. All methods get the same layer, between
the shallow CNN and the LSTM, and the raw embedding; the Grad-CAMs differentiate the sum of its components, as Sec. 4.2
does. The magnitude of the features alone shows which part of a figure is due to the network, not to the method.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from l2caf import pictures, storage
from l2caf.attention import L2CAF
from l2caf.data.digit_clips import Clip, DigitClips
from l2caf.data.digit_drawing import SIZE
from l2caf.evaluation import boxes, iou
from l2caf.experiments.tables import as_markdown, write
from l2caf.methods import GradCAM, GradCAMAbs
from l2caf.models.clips import ClipEmbedder
from l2caf.recipes.clips import LENGTHS, WEIGHTS, features_of, figures, trained

BATCH: Final = 8  # clips
FIGURES: Final = ("pointing", "on_distractor", "iou", "iou_50")
OF_RETRIEVAL: Final = ("recall_at_1", "nmi")
LAYER: Final = "shallow"
THRESHOLDS: Final = tuple(np.arange(0.1, 0.95, 0.1).round(1).tolist())  # shares of a map's maximum


def maps_of(model: ClipEmbedder, features: Float[Tensor, "b t c h w"]) -> dict[str, Float[Tensor, "b t p q"]]:
    """One map for each frame by every method.

    A weight of the filter does not measure contribution: where features are weak, a large weight changes little, so
    that the maximum of the filter may lie there. What the filter lets through, |f| ||A||, is proportional to the
    features, as the Grad-CAMs are, which add up the features themselves.

    Args:
        model: a network from features to embeddings.
        features: the features of clips.

    Returns:
        Non-negative maps by name of method; the last one does not depend on the output.
    """
    with torch.no_grad():
        magnitude = model.shallow(features.flatten(0, 1)).norm(dim=1).unflatten(0, features.shape[:2])
    own = L2CAF(model, LAYER)(features).filter[:, :, 0].abs()
    joint = L2CAF(model, LAYER, joint=True)(features).filter[:, 0].abs()
    return {
        "Grad-CAM": GradCAM(model, LAYER, output=_summed)(features, 0).map[:, :, 0],
        "Grad-CAM-abs": GradCAMAbs(model, LAYER, output=_summed)(features, 0).map[:, :, 0],
        "L2-CAF": own,
        "L2-CAF, joint": joint,
        "L2-CAF, what it lets through": own * magnitude,
        "L2-CAF, joint, what it lets through": joint * magnitude,
        "magnitude of the features alone": magnitude,
    }


def _summed(output: Float[Tensor, "b d"]) -> Float[Tensor, "b 1"]:
    return output.sum(1, keepdim=True)


def judged(
    heat: Float[np.ndarray, "h w"], truth: Int[np.ndarray, "d 4"], others: Int[np.ndarray, "e 4"]
) -> list[float]:
    """The figures of one frame.

    Args:
        heat: a map of the frame's size.
        truth: boxes (x0, y0, x1, y1) of the digits that define the event, in pixels.
        others: boxes of the other digits.

    Returns:
        1 if the maximum lies in a box of the truth, else 0; 1 if it lies in one of the others and in none of the truth,
        else 0; and for every threshold the IoU of the box around the brightest region and the nearest box of the truth.
    """
    y, x = map(int, np.unravel_index(int(heat.argmax()), heat.shape))
    hit, stray = (_holds(some, x, y) and bool(heat.max() > 0) for some in (truth, others))
    fits = []
    for threshold in THRESHOLDS:
        found = boxes(heat, threshold)
        fits.append(float(iou(found, truth.astype(float)).max()) if len(found) else 0.0)
    return [float(hit), float(stray and not hit), *fits]


def _holds(some: Int[np.ndarray, "d 4"], x: int, y: int) -> bool:
    return any(bool(x0 <= x < x1 and y0 <= y < y1) for x0, y0, x1, y1 in some)


def _localise(
    model: ClipEmbedder, clips: Sequence[Clip], features: Float[Tensor, "n t c h w"]
) -> dict[str, list[float]]:
    """The means of the four `FIGURES` over all frames of all clips, by name of method."""
    rows: dict[str, list[list[float]]] = {}
    for first in range(0, len(clips), BATCH):
        part = features[first : first + BATCH].float()
        for name, maps in maps_of(model, part).items():
            heat = pictures.resize(maps, (SIZE, SIZE)).numpy()
            for clip, frames in zip(clips[first : first + BATCH], heat, strict=False):
                rows.setdefault(name, []).extend(map(judged, frames, clip.boxes, clip.distractors))
    return {name: _summary(np.asarray(found)) for name, found in rows.items()}


def _summary(found: Float[np.ndarray, "n f"]) -> list[float]:
    """Means over the frames; those of the IoU at the threshold that is best for the figure."""
    fits = found[:, 2:]
    return [*found[:, :2].mean(0).tolist(), float(fits.mean(0).max()), float((fits >= 0.5).mean(0).max())]


def table(runs: Sequence[Path], n: int) -> dict[str, Any]:
    """The figures of every run, and of a random point.

    Args:
        runs: folders of runs of `ClipRecipe`, one for each seed.
        n: the number of test clips.

    Returns:
        The content of clips.json.
    """
    test, features = DigitClips("test", length=n), features_of("test", n)
    clips = [test[index] for index in range(n)]
    results = []
    for run in runs:
        model = trained(run / WEIGHTS, frames=False)
        results.append({"run": run.name, **figures(model, features), **_localise(model, clips, features.maps)})
    return {"clips": n, "figures": FIGURES, "chance": _chance(clips), "runs": results}


def _chance(clips: Sequence[Clip]) -> float:
    """The share of a frame that the boxes to hit cover: how often a random point would hit one."""
    shares = []
    for clip in clips:
        for of_frame in clip.boxes:
            covered = np.zeros((SIZE, SIZE), dtype=bool)
            for x0, y0, x1, y1 in of_frame:
                covered[y0:y1, x0:x1] = True
            shares.append(covered.mean())
    return float(np.mean(shares))


def clips_markdown(found: Mapping[str, Any]) -> str:
    """The table in markdown: mean and standard deviation over the runs, in percent."""
    runs = found["runs"]
    recall, information = (_spread([run[key] for run in runs]) for key in OF_RETRIEVAL)
    rows = [
        [name, *(_spread(column) for column in zip(*(run[name] for run in runs), strict=True))]
        for name in runs[0]
        if name not in {"run", *OF_RETRIEVAL}
    ]
    return (
        f"{found['clips']} test clips, {len(runs)} seeds. Recall@1 {recall}, NMI {information}.\n"
        f"A random point hits the evidence in {100 * found['chance']:.1f} % of the frames.\n\n"
        + as_markdown(["method", "pointing game", "points at a distractor", "mean IoU", "IoU >= 0.5"], rows)
    )


def _spread(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def main() -> None:
    """Judge every run in a folder and write clips.json and clips.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=LENGTHS["test"])
    arguments = parser.parse_args()
    found = table(sorted(arguments.runs.glob("seed*")), arguments.clips)
    write(arguments.output, "clips", storage.as_json(found) + "\n", clips_markdown(found))


if __name__ == "__main__":
    main()
