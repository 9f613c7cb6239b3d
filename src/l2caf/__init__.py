"""See what a trained vision network looks at.

Find the spatial filter of unit L2 norm on one layer's feature map that keeps what a frozen network says
(class-oblivious) or says one class as loudly as it can (class-specific). Its magnitude is the heatmap.
Source: Taha, Yang, Shrivastava, Davis, A Generic Visualization Approach for Convolutional Neural Networks, ECCV 2020.

A public name is imported when it is first used, so that `import l2caf` and `l2caf --help` do not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Final

from l2caf.version import __version__ as __version__

_MODULES: Final = {  # where each public name is defined; the imports below say the same to type checkers and editors
    "L2CAF": "l2caf.attention",
    "Attention": "l2caf.attention",
    "Certificate": "l2caf.solvers",
    "ChannelsFirst": "l2caf.layouts",
    "ChannelsLast": "l2caf.layouts",
    "ClassSpecific": "l2caf.objectives",
    "Descent": "l2caf.solvers",
    "Frames": "l2caf.layouts",
    "Gaussian": "l2caf.constraints",
    "L2CAFError": "l2caf.errors",
    "LayerInfo": "l2caf.attention",
    "Oblivious": "l2caf.objectives",
    "QuasiNewton": "l2caf.solvers",
    "Similar": "l2caf.objectives",
    "Softmax": "l2caf.constraints",
    "Tokens": "l2caf.layouts",
    "UnitL1": "l2caf.constraints",
    "UnitL2": "l2caf.constraints",
    "load": "l2caf.jobs.network",
    "over_region": "l2caf.attention",
    "results": "l2caf.jobs.run",
}
# `from l2caf import *` works without extras, and `results` needs one.
__all__ = sorted({*_MODULES, "__version__"} - {"results"})  # noqa: PLE0605  (one table, not two lists)

if TYPE_CHECKING:
    from l2caf.attention import L2CAF as L2CAF
    from l2caf.attention import Attention as Attention
    from l2caf.attention import LayerInfo as LayerInfo
    from l2caf.attention import over_region as over_region
    from l2caf.constraints import Gaussian as Gaussian
    from l2caf.constraints import Softmax as Softmax
    from l2caf.constraints import UnitL1 as UnitL1
    from l2caf.constraints import UnitL2 as UnitL2
    from l2caf.errors import L2CAFError as L2CAFError
    from l2caf.jobs.network import load as load
    from l2caf.jobs.run import results as results
    from l2caf.layouts import ChannelsFirst as ChannelsFirst
    from l2caf.layouts import ChannelsLast as ChannelsLast
    from l2caf.layouts import Frames as Frames
    from l2caf.layouts import Tokens as Tokens
    from l2caf.objectives import ClassSpecific as ClassSpecific
    from l2caf.objectives import Oblivious as Oblivious
    from l2caf.objectives import Similar as Similar
    from l2caf.solvers import Certificate as Certificate
    from l2caf.solvers import Descent as Descent
    from l2caf.solvers import QuasiNewton as QuasiNewton
else:

    def __getattr__(name):
        """Import a public name when it is first used (PEP 562); type checkers read the imports above instead."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value

    def __dir__():
        """Every public name, imported or not yet."""
        return sorted({*globals(), *_MODULES})
