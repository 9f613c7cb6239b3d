"""Data sets and pictures. Each public data set is one module here, which enters itself in `l2caf.data.sets.DATA_SETS`.

Modules of this package are imported with it, so that a new one needs no line anywhere else.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
