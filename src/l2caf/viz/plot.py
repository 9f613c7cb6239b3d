"""Diagrams, drawn by matplotlib (an extra) without touching the caller's own figures."""

from pathlib import Path
from typing import Any

from l2caf.errors import StorageError
from l2caf.extras import require


def new_figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float]) -> tuple[Any, Any]:
    """Make a figure that belongs to no window, and its axes.

    Args:
        rows: The number of rows of axes.
        columns: The number of columns of axes.
        size: The width and height in inches.

    Returns:
        The figure and an array of axes (rows, columns).

    Raises:
        ExtraMissingError: if matplotlib is not installed.
    """
    figure = require("matplotlib.figure", extra="localization").Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure.

    Args:
        figure: A figure that `new_figure` made.
        path: The file to write; its suffix decides the format.

    Raises:
        StorageError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
