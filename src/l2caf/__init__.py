"""See what a trained vision network looks at.

Find the spatial filter of unit L2 norm on one layer's feature map that keeps what a frozen network says
(class-oblivious) or says one class as loudly as it can (class-specific). Its magnitude is the heatmap.
Source: Taha, Yang, Shrivastava, Davis, A Generic Visualization Approach for Convolutional Neural Networks, ECCV 2020.
"""

from l2caf.attention import L2CAF, Attention, LayerInfo, over_region
from l2caf.constraints import Gaussian, Softmax, UnitL1, UnitL2
from l2caf.errors import L2CAFError
from l2caf.layouts import ChannelsFirst, ChannelsLast, Tokens
from l2caf.objectives import ClassSpecific, Oblivious
from l2caf.solvers import Certificate, Descent, QuasiNewton

__version__ = "0.1.0.dev0"

__all__ = [
    "L2CAF",
    "Attention",
    "Certificate",
    "ChannelsFirst",
    "ChannelsLast",
    "ClassSpecific",
    "Descent",
    "Gaussian",
    "L2CAFError",
    "LayerInfo",
    "Oblivious",
    "QuasiNewton",
    "Softmax",
    "Tokens",
    "UnitL1",
    "UnitL2",
    "__version__",
    "over_region",
]
