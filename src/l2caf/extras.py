"""Optional libraries: imported where they are used, with one sentence for whoever has not installed them."""

import importlib
from types import ModuleType
from typing import Final

from l2caf.errors import ExtraMissingError

# What a library is called where it is installed, if that is not what it is called where it is imported.
INSTALLED_AS: Final = {
    "av": "PyAV", "cv2": "OpenCV", "sklearn": "scikit-learn", "skimage": "scikit-image",
    "pytorch_metric_learning": "pytorch-metric-learning", "pytorch_grad_cam": "grad-cam",
}  # fmt: skip


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: the dotted name under which the library is imported, such as `av` or `pyarrow.parquet`.
        extra: the extra of l2caf that installs the library, such as `video`.

    Returns:
        The module.

    Raises:
        ExtraMissingError: if the library is not installed; the message names the extra.
        ImportError: if the library is installed, but a library that it needs itself is not.

    Example:
        >>> require("json", extra="video").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise  # the library is there; something that it needs itself is not, and its own message says what
        wanted: ExtraMissingError = missing(package, extra=extra)
        raise wanted from error


def missing(package: str, *, extra: str) -> ExtraMissingError:
    """The error that says that a library, given by the name under which it is imported, needs an extra of l2caf."""
    name = INSTALLED_AS.get(package, package)
    return ExtraMissingError(f"{name} is not installed; install it with `pip install 'l2caf[{extra}]'`")
