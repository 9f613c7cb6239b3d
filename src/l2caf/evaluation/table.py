"""One table of metrics of maps: each has a name, is made for one method, and is fed with maps one picture at a time.

A metric is made by `factory(context)`, fed by `metric.update(one)` with a `JudgedMap`, and asked by `metric.compute()`,
like a torchmetrics metric. `METRICS` knows the factories by name; `METRICS.lines()` says of each in a line what it is.
A metric of your own is entered with `@METRICS.register("name")`, or named as `package.module:factory` without being
entered. It appears in results.json, results.md and on the command line like the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import DataError
from l2caf.evaluation.frame import Boxes, InputFrame
from l2caf.models import LoadedModel
from l2caf.pictures import resize
from l2caf.registry import Registry

DEFAULT_METRICS: Final = ("max-box-acc", "pointing", "energy")
SIDE: Final = 224  # of `JudgedMap.shown`, in pixels


@dataclass(frozen=True)
class JudgedMap:
    """One method's map of one picture for its true class, and what the data set says of the picture.

    Attributes:
        heat: the map (h, w) on the method's own grid, non-negative, divided by its maximum. It covers what the network
            was shown.
        frame: which part of the picture the network was shown.
        file: the picture.
        boxes: annotated boxes (n, 4) as x0, y0, x1, y1 in pixels of the picture.
        label: the true class in the data set, from 0.
        target: the network's output for that class; None for an embedding network.
    """

    heat: Float[np.ndarray, "h w"]
    frame: InputFrame
    file: Path
    boxes: Boxes
    label: int
    target: int | None

    @cached_property
    def shown(self) -> Float[np.ndarray, "224 224"]:
        """The map, bilinear, at 224 x 224 pixels of what the network was shown; non-negative."""
        return resize(torch.from_numpy(self.heat)[None, None], (SIDE, SIDE))[0, 0].numpy().clip(0)

    @cached_property
    def shown_boxes(self) -> Boxes:
        """The annotated boxes in pixels of `shown`."""
        return self.frame.to_input(self.boxes, (SIDE, SIDE))


@dataclass(frozen=True, slots=True)
class MetricContext:
    """What a metric may need to know before the first map.

    Attributes:
        n_classes: the number of classes of the data set.
        loaded: the network, for metrics that ask it again; None where only stored maps are judged.
    """

    n_classes: int
    loaded: LoadedModel | None = None


@runtime_checkable
class MapMetric(Protocol):
    """A metric of one method's maps over a data set, such as a `torchmetrics.Metric`."""

    def update(self, one: JudgedMap) -> None:
        """Count one map."""

    def compute(self) -> Tensor | float | Mapping[str, Tensor | float]:
        """The figure, a share that results.md shows in percent; or several figures by name."""


MetricFactory = Callable[[MetricContext], MapMetric]
METRICS = Registry[MetricFactory]("metric", DataError)


class FiguresOfMethod:
    """The metrics of one method, by name."""

    def __init__(self, names: Sequence[str], context: MetricContext) -> None:
        """Make the metrics; raises `DataError` for a name that is unknown."""
        self._metrics = {name: _made(name, context) for name in names}

    def update(self, one: JudgedMap) -> None:
        """Count one map in every metric."""
        for metric in self._metrics.values():
            metric.update(one)

    def compute(self) -> dict[str, float]:
        """All figures by name, in the order of the metrics; a metric with one figure gives it its own name."""
        figures: dict[str, float] = {}
        for name, metric in self._metrics.items():
            found = metric.compute()
            named = found if isinstance(found, Mapping) else {name: found}
            figures |= {key: float(value) for key, value in named.items()}
        return figures


def _made(name: str, context: MetricContext) -> MapMetric:
    factory = METRICS[name]
    metric = factory(context) if callable(factory) else factory
    if not (hasattr(metric, "update") and hasattr(metric, "compute")):
        raise DataError(
            f"{name!r} gives {type(metric).__name__}, which is no metric; expected a function of a MetricContext that "
            "returns an object with `update(one)` and `compute()`"
        )
    return metric
