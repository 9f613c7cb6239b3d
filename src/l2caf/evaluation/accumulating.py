"""The base of every metric: torchmetrics' `Metric`, which accumulates, resets, and adds up over processes."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from l2caf.evaluation.table import JudgedMap
from l2caf.extras import missing
from l2caf.torchvision_compat import import_torchvision

try:
    import_torchvision()  # torchmetrics imports it
    import torchmetrics
except ImportError as error:
    raise missing("torchmetrics", extra="localization") from error


class PictureMetric(torchmetrics.Metric):
    """A metric whose state is sums over pictures."""

    is_differentiable = False
    full_state_update = False


@dataclass(frozen=True, slots=True)
class FedByMap:
    """A torchmetrics metric with arguments of its own, in the call shape of `table.MapMetric`.

    Attributes:
        metric: the metric.
        arguments: takes a judged map to the arguments of the metric's `update`.
    """

    metric: torchmetrics.Metric
    arguments: Callable[[JudgedMap], tuple[object, ...]]

    def update(self, one: JudgedMap) -> None:
        """Count one map."""
        self.metric.update(*self.arguments(one))

    def compute(self) -> Tensor | dict[str, float]:
        """What the metric computes."""
        return self.metric.compute()
