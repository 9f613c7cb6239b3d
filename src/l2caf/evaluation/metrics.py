"""Localisation metrics that accumulate over a data set, reset, and add up over processes.

All of them take one picture at a time, as numpy arrays, with boxes (n, 4) as x0, y0, x1, y1. Their state is sums only.

    LocalizationAccuracy   Top-1, Top-5, GT-known (ILSVRC development kit, eval_clsloc.m; CAM)
    MaxBoxAcc              MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020; wsolevaluation)
    PxAP                   the same for masks

Those of `pointing` and `faithfulness` are imported here, too, so that this module knows all of them.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from l2caf.errors import DataError
from l2caf.evaluation.accumulating import PictureMetric
from l2caf.evaluation.boxes import checked
from l2caf.evaluation.faithfulness import Faithfulness
from l2caf.evaluation.frame import Boxes, iou
from l2caf.evaluation.pointing import EnergyPointingGame, PointingGame, energy_inside
from l2caf.evaluation.table import METRICS, JudgedMap, MetricContext
from l2caf.evaluation.wsolevaluation import Contours, SweptOverlaps, WsolEvaluation, swept_overlaps, wsol_map

__all__ = [
    "EnergyPointingGame", "Faithfulness", "LocalizationAccuracy", "MaxBoxAcc", "PointingGame", "PxAP", "energy_inside",
]  # fmt: skip

RIGHT: Final = 0.5  # intersection over union from which a box is right


class LocalizationAccuracy(PictureMetric):
    """The share of pictures on which one of the guessed boxes is right.

    A guess is a class and its box. It is right if the class is the picture's and the box overlaps with any annotated
    box of that class with an intersection over union of at least 0.5. `guesses=1` is Top-1 and 5 is Top-5. None is
    GT-known: the boxes are those of the true class, whatever the network guessed. The published errors are 1 minus
    these shares.

    Example:
        >>> metric = LocalizationAccuracy(guesses=1)
        >>> truth = np.array([[0.0, 0.0, 10.0, 10.0]])
        >>> metric.update(np.array([[0.0, 0.0, 10.0, 6.0]]), np.array([3]), truth, 3)
        >>> metric.update(np.array([[0.0, 0.0, 10.0, 4.0]]), np.array([3]), truth, 3)
        >>> metric.compute().item()
        0.5
    """

    higher_is_better = True
    right: Tensor
    total: Tensor

    def __init__(
        self, guesses: int | None = 1, *, overlap: float = RIGHT, inclusive: bool = False, **options: Any
    ) -> None:
        """A metric.

        Args:
            guesses: how many of the first guesses count; None for GT-known.
            overlap: the intersection over union from which a box is right.
            inclusive: whether corners are pixels of the box, as in the development kit.
            options: the options of `torchmetrics.Metric`.
        """
        super().__init__(**options)
        self.guesses, self.overlap, self.inclusive = guesses, overlap, inclusive
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, boxes: Boxes, classes: Int[np.ndarray, " k"], truth: Boxes, true_class: int) -> None:
        """Count one picture.

        Args:
            boxes: boxes (k, 4), one for each guess, the most likely first; empty where a map gave no box.
            classes: the guessed classes (k,); GT-known ignores them.
            truth: annotated boxes (m, 4) of the picture's class, m > 0.
            true_class: the picture's class.
        """
        self.total += 1
        self.right += int(self.verdict(boxes, classes, truth, true_class))

    def verdict(self, boxes: Boxes, classes: Int[np.ndarray, " k"], truth: Boxes, true_class: int) -> bool:
        """Whether one of the guesses is right; the arguments are those of `update`."""
        if len(truth) == 0:
            raise DataError("a picture without annotated boxes cannot be judged; leave it out")
        if len(boxes) == 0:
            return False
        hits = iou(boxes, truth, inclusive=self.inclusive).max(axis=1) >= self.overlap
        if self.guesses is not None:
            hits = hits[: self.guesses] & (np.asarray(classes)[: self.guesses] == true_class)
        return bool(hits.any())

    def compute(self) -> Tensor:
        """The share in float64, in [0, 1]; NaN before the first picture."""
        return self.right.double() / self.total


class MaxBoxAcc(PictureMetric):
    """Box accuracy at the threshold that is best for the whole set.

    Of a map in [0, 1] and every threshold tau, the contours give boxes; a picture is right at (tau, delta) if the best
    of them overlaps with an annotated box by at least delta. MaxBoxAcc: the largest contour, delta 0.5. MaxBoxAccV2:
    every contour, the mean over delta in {0.3, 0.5, 0.7} of what each delta's own best threshold gives.
    """

    higher_is_better = True
    right: Tensor
    total: Tensor

    def __init__(
        self,
        contours: Contours = "all",
        overlaps: Sequence[float] = (0.3, 0.5, 0.7),
        *,
        interval: float = 0.01,
        **options: Any,
    ) -> None:
        """A metric.

        Args:
            contours: `"largest"` with `overlaps=(0.5,)` is MaxBoxAcc, the default MaxBoxAccV2.
            overlaps: the deltas.
            interval: the step between thresholds; 0.01 is wsolevaluation's default.
            options: the options of `torchmetrics.Metric`.
        """
        super().__init__(**options)
        self.contours = contours
        self.overlaps = tuple(overlaps)
        self.thresholds = np.arange(0, 1, interval)
        shape = (len(self.overlaps), len(self.thresholds))
        self.add_state("right", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, score: Float[np.ndarray, "h w"], truth: Boxes, *, swept: SweptOverlaps | None = None) -> None:
        """Count one picture.

        Args:
            score: a map in [0, 1], such as `wsolevaluation.wsol_map` makes.
            truth: annotated boxes in pixels of the map (`WsolEvaluation.truth`).
            swept: the result of `wsolevaluation.swept_overlaps` for the same map, boxes and thresholds, where it is
                known already.
        """
        swept = swept or swept_overlaps(_in_unit_range(score), truth, self.thresholds)
        self.right += torch.from_numpy(swept[self.contours][None] >= np.array(self.overlaps)[:, None])
        self.total += 1

    def compute(self) -> Tensor:
        """The accuracy, in [0, 1]; NaN before the first picture."""
        return (self.right.amax(dim=1) / self.total).mean()

    def best_thresholds(self) -> tuple[float, ...]:
        """The threshold that each overlap's accuracy was reached at."""
        return tuple(float(self.thresholds[row.argmax()]) for row in self.right.numpy())


@METRICS.register("max-box-acc")
class BoxAccuracies:
    """MaxBoxAcc and MaxBoxAccV2, and the threshold at which MaxBoxAcc is reached."""

    def __init__(self, context: MetricContext) -> None:
        del context
        self._v1, self._v2 = MaxBoxAcc("largest", (RIGHT,)), MaxBoxAcc()
        self._rule = WsolEvaluation("swept", "all")

    def update(self, one: JudgedMap) -> None:
        """Count one map; both metrics share one sweep."""
        score, truth = wsol_map(one.heat), self._rule.truth(one.boxes, one.frame)
        swept = swept_overlaps(score, truth, self._v1.thresholds)
        for metric in (self._v1, self._v2):
            metric.update(score, truth, swept=swept)

    def compute(self) -> dict[str, Tensor | float]:
        """Both accuracies in [0, 1], and the threshold in [0, 1)."""
        return {
            "max_box_acc": self._v1.compute(),
            "max_box_acc_v2": self._v2.compute(),
            "best_threshold": self._v1.best_thresholds()[0],
        }


class PxAP(PictureMetric):
    """Pixel average precision of maps against masks, over all pixels of the set.

    Precision and recall at every threshold, summed as `precision_k (recall_k - recall_(k-1))`; bins in which nothing is
    predicted are left out, as in wsolevaluation, which reports it in percent.
    """

    higher_is_better = True
    positive: Tensor
    negative: Tensor

    def __init__(self, *, interval: float = 0.01, **options: Any) -> None:
        """A metric; `interval` is the step between thresholds, `options` are those of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.edges = np.append(np.arange(0, 1, interval), [1.0, 2.0, 3.0])
        bins = len(self.edges) - 1
        self.add_state("positive", torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("negative", torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        score: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "h w"],
        ignore: Bool[np.ndarray, "h w"] | None = None,
    ) -> None:
        """Count one picture.

        Args:
            score: a map in [0, 1].
            mask: which pixels are the object's, at the map's size.
            ignore: which pixels to leave out, unless they are the object's.
        """
        score = _in_unit_range(score)
        counted = np.ones_like(mask) if ignore is None else ~(ignore & ~mask)
        for state, pixels in ((self.positive, mask), (self.negative, ~mask & counted)):
            state.add_(torch.from_numpy(np.histogram(score[pixels], bins=self.edges)[0].astype(np.float64)))

    def compute(self) -> Tensor:
        """The average precision, in [0, 1]."""
        positive = self.positive.flip(0).cumsum(0)
        negative = self.negative.flip(0).cumsum(0)
        predicted = positive + negative
        precision = positive / predicted.clamp_min(1)
        recall = positive / positive[-1].clamp_min(1)
        gained = recall[1:] - recall[:-1]
        return (precision[1:] * gained)[predicted[1:] > 0].sum()


def _in_unit_range(score: np.ndarray) -> np.ndarray:
    score = checked(score)
    if score.min() < 0 or score.max() > 1:
        raise DataError(f"a map with values from {score.min():.3g} to {score.max():.3g} has no thresholds in [0, 1)")
    return score
