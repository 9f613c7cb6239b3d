"""Pointing games: does a map's maximum, or most of its sum, lie on the object?

PointingGame          Zhang et al., ECCV 2016, as in TorchRay
EnergyPointingGame    Wang et al., Score-CAM, CVPR workshops 2020
"""

from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import DataError
from l2caf.evaluation.accumulating import FedByMap, PictureMetric
from l2caf.evaluation.boxes import checked
from l2caf.evaluation.frame import Boxes
from l2caf.evaluation.table import METRICS, MapMetric, MetricContext

POINTING_TOLERANCE: Final = 15.0  # pixels around an object within which pointing at it counts


class PointingGame(PictureMetric):
    """The mean over classes of the share of maps whose maximum lies on the object, or within 15 pixels of it."""

    higher_is_better = True
    hits: Tensor
    misses: Tensor

    def __init__(self, n_classes: int, *, tolerance: float = POINTING_TOLERANCE, **options: Any) -> None:
        """A metric of `n_classes` classes; `tolerance` is in pixels, `options` are those of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.tolerance = tolerance
        self.add_state("hits", torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("misses", torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, heat: Float[np.ndarray, "h w"], truth: Boxes, true_class: int) -> None:
        """Count one map.

        Args:
            heat: the map (h, w) at the picture's size; it points at its first maximum in reading order.
            truth: the boxes (n, 4) of the class in the picture; the object is every pixel in them.
            true_class: the number of the class, from 0.
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


class EnergyPointingGame(PictureMetric):
    """The mean share of a map's sum that lies inside the boxes."""

    higher_is_better = True
    share: Tensor
    total: Tensor

    def __init__(self, **options: Any) -> None:
        """A metric; `options` are those of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.add_state("share", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, heat: Float[np.ndarray, "h w"], truth: Boxes) -> None:
        """Count one non-negative map (h, w) at the picture's size, with the boxes (n, 4) of its class."""
        self.share += energy_inside(heat, truth)
        self.total += 1

    def compute(self) -> Tensor:
        """The mean, in [0, 1]; NaN before the first map."""
        return self.share / self.total


def energy_inside(heat: Float[np.ndarray, "h w"], truth: Boxes) -> float:
    """The share of a map's sum inside the union of boxes.

    Args:
        heat: a non-negative map (h, w) at the picture's size.
        truth: boxes (n, 4), rounded to whole pixels.

    Returns:
        The share in [0, 1]; 0 for a map that is zero throughout.

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


@METRICS.register("pointing")
def pointing(context: MetricContext) -> MapMetric:
    """Pointing game: the share of maps whose maximum lies on the object, or within 15 of 224 pixels of it."""
    return FedByMap(PointingGame(context.n_classes), lambda one: (one.shown, one.shown_boxes, one.label))


@METRICS.register("energy")
def energy(context: MetricContext) -> MapMetric:
    """Energy pointing game: the mean share of a map's sum that lies inside the boxes."""
    del context
    return FedByMap(EnergyPointingGame(), lambda one: (one.shown, one.shown_boxes))
