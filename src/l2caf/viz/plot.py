"""Diagrams, drawn by matplotlib (an extra) without touching the caller's own figures."""

from pathlib import Path
from typing import Any

from l2caf.errors import ExtraMissingError, StorageError


def new_figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of no back end, and its axes.

    Args:
        rows: of axes.
        columns: likewise.
        size: width and height in inches.

    Returns:
        The figure and an array of axes (rows, columns).

    Raises:
        ExtraMissingError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissingError(
            "diagrams need matplotlib; install it with `pip install l2caf[localization]`"
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure.

    Args:
        figure: of `new_figure`.
        path: the file; its suffix says the format.

    Raises:
        StorageError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
