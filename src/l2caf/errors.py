"""The tree of errors: everything l2caf raises on purpose, and nothing else.

    L2CAFError
    ├── LayerError (ValueError)      no such layer, no grid, a grid of one position, or nothing of it reaches the output
    ├── LayoutError (ValueError)     where space is in a feature map cannot be told
    ├── TailError (RuntimeError)     the part of the network after the layer cannot be replayed
    ├── OutputError (TypeError)      the network's output is no tensor and `output=` does not say which part to take
    ├── TargetError (ValueError)     a class that does not exist, or targets that do not fit the batch
    ├── ConstraintError (ValueError) no such constraint, or one the grid cannot meet
    ├── SolverError (ValueError)     no such solver, or one that the problem does not allow
    ├── FeatureError (ValueError)    the feature map is not finite, or zero throughout
    ├── WeightsError (ValueError)    weights that cannot be had, read, or fitted to the network
    ├── ModelError (ValueError)      no such network, or one that keeps its layers to itself
    ├── DataError (ValueError)       a picture or data set that cannot be read
    ├── StorageError (OSError)       a result folder that exists, is incomplete or cannot be written
    ├── TrainingError (ValueError)   a training run that cannot be started, taken up, or go on
    ├── RunError (RuntimeError)      a run over a data set that cannot be started, taken up, or go on
    └── ExtraMissingError (ImportError)   an optional library is not installed; names the extra to install

Each message says what was given, what was expected, and what to do now.
"""

import difflib
from collections.abc import Iterable


class L2CAFError(Exception):
    """Base of every error that l2caf raises on purpose."""


class LayerError(L2CAFError, ValueError):
    """The layer does not exist, has no grid to look at, or does not reach the output."""


class LocalityWarning(UserWarning):
    """The positions of a layer that the user named do not follow the picture."""


class LayoutError(L2CAFError, ValueError):
    """Where space lies in a feature map cannot be told from its shape."""


class TailError(L2CAFError, RuntimeError):
    """The part of the network that lies after the layer cannot be replayed."""


class OutputError(L2CAFError, TypeError):
    """The network returned something that is not a tensor."""


class TargetError(L2CAFError, ValueError):
    """The classes asked for do not exist or do not fit the batch."""


class ConstraintError(L2CAFError, ValueError):
    """No such constraint, or one that cannot be met on the grid."""


class SolverError(L2CAFError, ValueError):
    """No such solver, or one that the problem does not allow."""


class FeatureError(L2CAFError, ValueError):
    """The feature map holds nothing to attend to: NaN, infinity, or zeros throughout."""


class WeightsError(L2CAFError, ValueError):
    """Weights cannot be had, read, or fitted to the network."""


class ModelError(L2CAFError, ValueError):
    """No network of that name is known, it does not take what it is given, or nothing in it can be looked at."""


class DataError(L2CAFError, ValueError):
    """A picture or data set cannot be read."""


class StorageError(L2CAFError, OSError):
    """A result folder already exists, is incomplete, or cannot be written."""


class TrainingError(L2CAFError, ValueError):
    """A training run cannot be started, taken up, or go on."""


class RunError(L2CAFError, RuntimeError):
    """A run over a data set cannot be started, taken up, or go on."""


class ExtraMissingError(L2CAFError, ImportError):
    """An optional library is not installed."""


def nearest(name: str, known: Iterable[str], *, n: int = 3) -> str:
    """Sentence fragment that offers the real names closest to a misspelt one.

    Args:
        name: what the user wrote.
        known: every valid name.
        n: how many to offer at most.

    Returns:
        `"; did you mean 'a', 'b'?"`, or an empty string where nothing is close.

    Example:
        >>> nearest("layr4", ["layer3", "layer4", "fc"])
        "; did you mean 'layer4', 'layer3'?"
    """
    close = difflib.get_close_matches(name, list(known), n=n, cutoff=0.4)
    return f"; did you mean {', '.join(map(repr, close))}?" if close else ""
