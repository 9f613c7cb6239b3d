"""See what a trained vision network looks at.

Find the spatial filter of unit L2 norm on one layer's feature map that keeps what a frozen network says
(class-oblivious) or says one class as loudly as it can (class-specific). Its magnitude is the heatmap.
Source: Taha, Yang, Shrivastava, Davis, A Generic Visualization Approach for Convolutional Neural Networks, ECCV 2020.
"""

from typing import TYPE_CHECKING, Any

from l2caf.attention import L2CAF, Attention, LayerInfo, over_region
from l2caf.constraints import Gaussian, Softmax, UnitL1, UnitL2
from l2caf.errors import L2CAFError
from l2caf.layouts import ChannelsFirst, ChannelsLast, Frames, Tokens
from l2caf.objectives import ClassSpecific, Oblivious, Similar
from l2caf.solvers import Certificate, Descent, QuasiNewton

if TYPE_CHECKING:
    from l2caf.jobs.run.reading import results

__version__ = "0.1.0.dev0"

__all__ = [
    "L2CAF",
    "Attention",
    "Certificate",
    "ChannelsFirst",
    "ChannelsLast",
    "ClassSpecific",
    "Descent",
    "Frames",
    "Gaussian",
    "L2CAFError",
    "LayerInfo",
    "Oblivious",
    "QuasiNewton",
    "Similar",
    "Softmax",
    "Tokens",
    "UnitL1",
    "UnitL2",
    "__version__",
    "over_region",
    "results",
]


def __getattr__(name: str) -> Any:
    """What needs an extra is imported when it is asked for."""
    if name == "results":
        from l2caf.jobs.run import results as read  # noqa: PLC0415

        return read
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
