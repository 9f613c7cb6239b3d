"""Volumes under their attention: slices, one of them through the maximum, and maximum projections along every axis."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from l2caf.errors import DataError
from l2caf.viz.film import contoured
from l2caf.viz.grid import write_grid

SLICES: Final = 6
WINDOW: Final = (1.0, 99.0)  # percentiles that become black and white
AXES: Final = ("axial", "coronal", "sagittal")  # along d, h and w


def slices(
    volume: Float[np.ndarray, "d h w"], heat: Float[np.ndarray, "e g v"], n: int = SLICES
) -> list[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """Draw slices across the depth under their attention: evenly spaced, with the slice of the maximum among them.

    Args:
        volume: The scan.
        heat: The map, in [0, 1], of the scan's shape.
        n: The largest number of slices.

    Returns:
        The index and the RGB picture of each slice, ascending.

    Raises:
        DataError: if the shapes differ.
    """
    _check(volume, heat)
    grey = _grey(volume)
    even = np.linspace(0, len(grey) - 1, min(n, len(grey))).round().astype(int)
    warmest = int(heat.max((1, 2)).argmax())
    even[np.abs(even - warmest).argmin()] = warmest
    return [(int(index), contoured(grey[index], heat[index])) for index in np.unique(even)]


def projections(
    volume: Float[np.ndarray, "d h w"], heat: Float[np.ndarray, "e g v"]
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Draw maximum projections of scan and attention along d, h and w; the last two stand upright.

    Args:
        volume: The scan.
        heat: The map, in [0, 1], of the scan's shape.

    Returns:
        Three RGB pictures.

    Raises:
        DataError: if the shapes differ.
    """
    _check(volume, heat)
    grey = _grey(volume)
    found = [contoured(grey.max(axis), heat.max(axis)) for axis in range(3)]
    return [found[0], *(np.ascontiguousarray(picture[::-1]) for picture in found[1:])]  # the head is up


def write_slices(path: Path, volume: Float[np.ndarray, "d h w"], heat: Float[np.ndarray, "d h w"]) -> None:
    """Write the slices as one row, headed by their index; raises `StorageError` if the file cannot be written."""
    chosen = slices(volume, heat)
    write_grid(path, [f"slice {index}" for index, _ in chosen], [[picture for _, picture in chosen]])


def write_projections(path: Path, volume: Float[np.ndarray, "d h w"], heat: Float[np.ndarray, "d h w"]) -> None:
    """Write the projections as one row; raises `StorageError` if the file cannot be written."""
    write_grid(path, AXES, [projections(volume, heat)])


def _grey(volume: Float[np.ndarray, "d h w"]) -> UInt8[np.ndarray, "d h w 3"]:
    low, high = np.percentile(volume, WINDOW)
    scaled = np.clip((volume - low) / max(float(high - low), 1e-12), 0, 1)
    return np.repeat((255 * scaled).round().astype(np.uint8)[..., None], 3, axis=3)


def _check(volume: Float[np.ndarray, "d h w"], heat: Float[np.ndarray, "e g v"]) -> None:
    if volume.shape != heat.shape:
        raise DataError(f"a map of {heat.shape} does not fit a volume of {volume.shape}; resize it first")
