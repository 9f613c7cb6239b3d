"""The base of every metric: torchmetrics', which accumulates, resets, and adds up over processes."""

from l2caf.errors import ExtraMissingError
from l2caf.torchvision_compat import import_torchvision

try:
    import_torchvision()  # torchmetrics imports it
    import torchmetrics
except ImportError as error:
    raise ExtraMissingError(
        "localisation metrics need torchmetrics; install them with `pip install l2caf[localization]`"
    ) from error


class Metric(torchmetrics.Metric):
    """A metric whose state is sums over pictures."""

    is_differentiable = False
    full_state_update = False
