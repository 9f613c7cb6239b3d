"""Localisation metrics that accumulate over a data set, reset, and add up over processes.

All of them take one picture at a time, in numpy arrays, boxes as (n, 4) x0, y0, x1, y1. Their state is sums only.

    LocalizationAccuracy   Top-1, Top-5, GT-known (ILSVRC development kit, eval_clsloc.m; CAM)
    MaxBoxAcc              MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020; wsolevaluation)
    PxAP                   the same for masks
    PointingGame           Zhang et al., ECCV 2016, as in TorchRay
    EnergyPointingGame     Wang et al., Score-CAM, CVPR workshops 2020
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from l2caf.errors import DataError
from l2caf.evaluation.accumulating import Metric
from l2caf.evaluation.boxes import checked
from l2caf.evaluation.frame import Boxes, iou
from l2caf.evaluation.protocols import Contours, Swept, swept_overlaps

POINTING_TOLERANCE: Final = 15.0  # pixels around an object within which pointing at it counts


class LocalizationAccuracy(Metric):
    """Share of pictures on which one of the guessed boxes is right.

    A guess is a class and its box. It is right if the class is the picture's and the box overlaps with any annotated
    box of that class with an intersection over union of at least 0.5. `guesses=1` is Top-1, 5 is Top-5, None GT-known:
    boxes of the true class, classification ignored. The published errors are 1 minus these.

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
        self, guesses: int | None = 1, *, overlap: float = 0.5, inclusive: bool = False, **options: Any
    ) -> None:
        """A metric.

        Args:
            guesses: how many of the first guesses count; None for GT-known.
            overlap: intersection over union from which a box is right.
            inclusive: corners are pixels of the box, as the development kit counts.
            options: of `torchmetrics.Metric`.
        """
        super().__init__(**options)
        self.guesses, self.overlap, self.inclusive = guesses, overlap, inclusive
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, boxes: Boxes, classes: Int[np.ndarray, " k"], truth: Boxes, true_class: int) -> None:
        """Count one picture.

        Args:
            boxes: (k, 4), one per guess, the most likely first; empty where a map gave no box.
            classes: (k,) the guessed classes; without meaning for GT-known.
            truth: (m, 4) annotated boxes of the picture's class, m > 0.
            true_class: the picture's class.
        """
        self.total += 1
        self.right += int(self.verdict(boxes, classes, truth, true_class))

    def verdict(self, boxes: Boxes, classes: Int[np.ndarray, " k"], truth: Boxes, true_class: int) -> bool:
        """Whether one of the guesses is right; arguments as for `update`."""
        if len(truth) == 0:
            raise DataError("a picture without annotated boxes cannot be judged; leave it out")
        if len(boxes) == 0:
            return False
        hits = iou(boxes, truth, inclusive=self.inclusive).max(axis=1) >= self.overlap
        if self.guesses is not None:
            hits = hits[: self.guesses] & (np.asarray(classes)[: self.guesses] == true_class)
        return bool(hits.any())

    def compute(self) -> Tensor:
        """The share, in [0, 1]; NaN before the first picture."""
        return self.right / self.total


class MaxBoxAcc(Metric):
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
            overlaps: deltas.
            interval: between thresholds; 0.01 is wsolevaluation's default.
            options: of `torchmetrics.Metric`.
        """
        super().__init__(**options)
        self.contours = contours
        self.overlaps = tuple(overlaps)
        self.thresholds = np.arange(0, 1, interval)
        shape = (len(self.overlaps), len(self.thresholds))
        self.add_state("right", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, score: Float[np.ndarray, "h w"], truth: Boxes, *, swept: Swept | None = None) -> None:
        """Count one picture.

        Args:
            score: a map in [0, 1], such as `protocols.wsol_map` makes.
            truth: annotated boxes in pixels of the map (`WsolEvaluation.truth`).
            swept: `protocols.swept_overlaps` of the same at this metric's thresholds, where that is known already.
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


class PxAP(Metric):
    """Pixel average precision of maps against masks, over all pixels of the set.

    Precision and recall at every threshold, summed as `precision_k (recall_k - recall_(k-1))`; bins in which nothing is
    predicted are left out, as in wsolevaluation, which reports it in percent.
    """

    higher_is_better = True
    positive: Tensor
    negative: Tensor

    def __init__(self, *, interval: float = 0.01, **options: Any) -> None:
        """A metric; `interval` between thresholds, `options` of `torchmetrics.Metric`."""
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
            mask: the object, at the map's size.
            ignore: pixels to leave out, unless they are the object's.
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


class PointingGame(Metric):
    """Mean over classes of the share of maps whose maximum lies on the object, or within 15 pixels of it."""

    higher_is_better = True
    hits: Tensor
    misses: Tensor

    def __init__(self, n_classes: int, *, tolerance: float = POINTING_TOLERANCE, **options: Any) -> None:
        """A metric; `tolerance` in pixels, `options` of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.tolerance = tolerance
        self.add_state("hits", torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("misses", torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, heat: Float[np.ndarray, "h w"], truth: Boxes, true_class: int) -> None:
        """Count one map.

        Args:
            heat: at the picture's size; its first maximum in reading order is where it points.
            truth: the class's boxes in the picture; the object is every pixel of them.
            true_class: the class.
        """
        heat = checked(heat)
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        truth = np.asarray(truth, dtype=float).reshape(-1, 4)
        # distance from the pixel's centre to the centres of the pixels of each box
        low, high = truth[:, :2], np.maximum(truth[:, 2:] - 1, truth[:, :2])
        away = np.linalg.norm(np.array([x, y]) - np.clip(np.array([x, y]), low, high), axis=1)
        is_hit = bool((away < max(self.tolerance, 1e-9)).any())
        (self.hits if is_hit else self.misses)[true_class] += 1

    def compute(self) -> Tensor:
        """The mean over the classes that occurred, in [0, 1]."""
        counted = self.hits + self.misses
        return (self.hits / counted)[counted > 0].mean()


class EnergyPointingGame(Metric):
    """Mean share of a map's sum that lies inside the boxes."""

    higher_is_better = True
    share: Tensor
    total: Tensor

    def __init__(self, **options: Any) -> None:
        """A metric; `options` of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.add_state("share", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, heat: Float[np.ndarray, "h w"], truth: Boxes) -> None:
        """Count one map, non-negative, at the picture's size, and the boxes of its class."""
        self.share += energy_inside(heat, truth)
        self.total += 1

    def compute(self) -> Tensor:
        """The mean, in [0, 1]; NaN before the first map."""
        return self.share / self.total


def energy_inside(heat: Float[np.ndarray, "h w"], truth: Boxes) -> float:
    """Share of a map's sum inside the union of boxes, in [0, 1]; 0 for a map that is zero throughout.

    Args:
        heat: non-negative, at the picture's size.
        truth: boxes, cut to whole pixels.

    Returns:
        The share.

    Raises:
        DataError: if the map is negative somewhere.
    """
    heat = checked(heat)
    if heat.min() < 0:
        raise DataError("the energy of a map needs non-negative values; take its magnitude or its positive part")
    inside = np.zeros(heat.shape, dtype=bool)
    for x0, y0, x1, y1 in np.round(np.asarray(truth, dtype=float).reshape(-1, 4)).astype(int):
        inside[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    total = float(heat.sum())
    return float(heat[inside].sum()) / total if total > 0 else 0.0


def _in_unit_range(score: np.ndarray) -> np.ndarray:
    score = checked(score)
    if score.min() < 0 or score.max() > 1:
        raise DataError(f"a map with values from {score.min():.3g} to {score.max():.3g} has no thresholds in [0, 1)")
    return score
