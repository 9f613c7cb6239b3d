"""Where video attention points: Grad-CAM, Grad-CAM-abs and L2-CAF on the Figure 8 network, judged frame by frame.

    python -m l2caf.experiments.clips_table --runs runs/clips --output docs/results/video

DigitClips knows which digits define an event and where they are in every frame, so a map of a frame is right where its
maximum lies in such a digit's box (the pointing game, without tolerance), and as good as the box around its brightest
region fits (IoU), at the threshold that suits the method best, as MaxBoxAcc has it. All methods get the same layer,
between the shallow CNN and the LSTM, and the raw embedding; the Grad-CAMs differentiate the sum of its components, as
Sec. 4.2 does. The features' magnitude is there to tell what of a figure is the method's, and what the network's.
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
from l2caf.methods import GradCAM, GradCAMAbs
from l2caf.models.clips import ClipEmbedder
from l2caf.recipes.clips import LENGTHS, WEIGHTS, features_of, figures, trained

BATCH: Final = 8  # clips
FIGURES: Final = ("pointing", "on_distractor", "iou", "iou_50")
LAYER: Final = "shallow"
THRESHOLDS: Final = tuple(np.arange(0.1, 0.95, 0.1).round(1).tolist())  # shares of a map's maximum


def maps_of(model: ClipEmbedder, features: Float[Tensor, "b t c h w"]) -> dict[str, Float[Tensor, "b t p q"]]:
    """One map per frame by every method.

    A filter's weight is no amount: where features are weak a large weight changes little, so that its maximum may lie
    there. What it lets through, |f| ||A||, is in proportion, as the Grad-CAMs are, which add up features themselves.

    Args:
        model: from features to embeddings.
        features: of clips.

    Returns:
        Non-negative maps by name of method; the last knows nothing of the output.
    """
    with torch.no_grad():
        magnitude = model.shallow(features.flatten(0, 1)).norm(dim=1).unflatten(0, features.shape[:2])
    own = L2CAF(model, LAYER)(features).filter.abs()
    joint = L2CAF(model, LAYER, joint=True)(features).filter[:, 0].abs()
    return {
        "Grad-CAM": GradCAM(model, LAYER, output=_summed)(features, 0).map,
        "Grad-CAM-abs": GradCAMAbs(model, LAYER, output=_summed)(features, 0).map,
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
    """One frame's figures.

    Args:
        heat: of the frame's size.
        truth: boxes of what defines the event.
        others: boxes of what does not.

    Returns:
        Whether the maximum lies in a box of the truth; whether in one of the others and in none of the truth; and for
        every threshold the IoU of the box around the brightest region and the nearest of the truth.
    """
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    hit, stray = (_holds(some, x, y) and bool(heat.max() > 0) for some in (truth, others))
    fits = []
    for threshold in THRESHOLDS:
        found = boxes(heat, threshold)
        fits.append(float(iou(found, truth.astype(float)).max()) if len(found) else 0.0)
    return [float(hit), float(stray and not hit), *fits]


def _holds(some: Int[np.ndarray, "d 4"], x: np.integer[Any], y: np.integer[Any]) -> bool:
    return any(bool(x0 <= x < x1 and y0 <= y < y1) for x0, y0, x1, y1 in some)


def localise(
    model: ClipEmbedder, clips: Sequence[Clip], features: Float[Tensor, "n t c h w"]
) -> dict[str, list[float]]:
    """Mean figures over all frames of all clips, by method.

    Args:
        model: from features to embeddings.
        clips: with their boxes.
        features: of those clips.

    Returns:
        `FIGURES` of each method.
    """
    rows: dict[str, list[list[float]]] = {}
    for first in range(0, len(clips), BATCH):
        part = features[first : first + BATCH].float()
        for name, maps in maps_of(model, part).items():
            heat = pictures.resize(maps, (SIZE, SIZE)).numpy()
            for clip, frames in zip(clips[first : first + BATCH], heat, strict=False):
                rows.setdefault(name, []).extend(map(judged, frames, clip.boxes, clip.distractors))
    return {name: _summary(np.asarray(found)) for name, found in rows.items()}


def _summary(found: Float[np.ndarray, "n f"]) -> list[float]:
    """Means over frames; of the fits, at the best threshold for each figure."""
    fits = found[:, 2:]
    return [*found[:, :2].mean(0).tolist(), float(fits.mean(0).max()), float((fits >= 0.5).mean(0).max())]


def table(runs: Sequence[Path], n: int) -> dict[str, Any]:
    """Figures of every run, and of a point thrown at random.

    Args:
        runs: folders of `train_clips`, one per seed.
        n: test clips.

    Returns:
        What `main` writes.
    """
    test, features = DigitClips("test", length=n), features_of("test", n)
    clips = [test[index] for index in range(n)]
    results = []
    for run in runs:
        model = trained(run / WEIGHTS, frames=False)
        results.append({"run": run.name, **figures(model, features), **localise(model, clips, features.maps)})
    return {"clips": n, "figures": FIGURES, "chance": chance(clips), "runs": results}


def chance(clips: Sequence[Clip]) -> float:
    """The share of a frame that the evidence's boxes cover: how often a random point would hit."""
    covered = np.zeros((SIZE, SIZE), dtype=bool)
    shares = []
    for clip in clips:
        for of_frame in clip.boxes:
            covered[:] = False
            for x0, y0, x1, y1 in of_frame:
                covered[y0:y1, x0:x1] = True
            shares.append(covered.mean())
    return float(np.mean(shares))


def as_markdown(found: Mapping[str, Any]) -> str:
    """The table: mean and standard deviation over the runs, in percent."""
    runs = found["runs"]
    recall, information = (_spread([run[key] for run in runs]) for key in ("recall_at_1", "nmi"))
    lines = [
        f"{found['clips']} test clips, {len(runs)} seeds. Recall@1 {recall}, NMI {information}.",
        f"A random point hits the evidence in {100 * found['chance']:.1f} % of the frames.\n",
        "| method | pointing game | points at a distractor | mean IoU | IoU >= 0.5 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in (key for key in runs[0] if isinstance(runs[0][key], list)):
        columns = zip(*(run[name] for run in runs), strict=True)
        lines.append(f"| {name} | {' | '.join(_spread(list(column)) for column in columns)} |")
    return "\n".join(lines) + "\n"


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
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "clips.json").write_text(storage.as_json(found) + "\n", encoding="utf-8")
    (arguments.output / "clips.md").write_text(as_markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
