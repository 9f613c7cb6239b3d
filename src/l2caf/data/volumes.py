"""Volumes from files: NIfTI, in the orientation in which radiologists number slices."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import DataError
from l2caf.extras import require


@dataclass(frozen=True, slots=True)
class Volume:
    """A scan.

    Attributes:
        values: The scan (d, h, w), float32: axial slices from feet to head, rows from front to back, columns from the
            patient's right to left.
        affine: The matrix (4, 4) from (d, h, w) indices to millimetres in NIfTI's right-anterior-superior axes.
    """

    values: Float[np.ndarray, "d h w"]
    affine: Float[np.ndarray, "4 4"]


def read_volume(path: Path) -> Volume:
    """Read a scan from a NIfTI file and turn it to standard axes, whatever its own are.

    Args:
        path: A .nii or .nii.gz file of one volume.

    Returns:
        The scan; values that are not finite are replaced by 0.

    Raises:
        DataError: if the file cannot be read, or does not hold one volume of numbers.
        ExtraMissingError: if nibabel is not installed.
    """
    nibabel = require("nibabel", extra="volumes")
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a .nii or .nii.gz file")
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, ValueError, TypeError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path} cannot be read as NIfTI: {str(error).splitlines()[0]}") from error
    values = values.reshape(values.shape[:3]) if values.shape[3:] == (1,) * len(values.shape[3:]) else values
    if values.ndim != 3 or min(values.shape) < 2:
        raise DataError(f"{path} holds an array of shape {values.shape}; expected one volume (x, y, z)")
    order = np.array([[0, 0, -1, values.shape[0] - 1], [0, -1, 0, values.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    standing = np.ascontiguousarray(values[::-1, ::-1].transpose(2, 1, 0))
    return Volume(np.nan_to_num(standing, posinf=0.0, neginf=0.0), np.asarray(image.affine, dtype=np.float64) @ order)


def as_input(volume: Volume, size: tuple[int, int, int] | None = None, channels: int = 1) -> Float[Tensor, "1 c d h w"]:
    """Normalise a scan to mean 0 and standard deviation 1, as networks take it.

    Args:
        volume: The scan.
        size: The depth, height and width to resample to; None for the scan's own.
        channels: The number of channels that the network takes; each holds the same values.

    Returns:
        A float32 tensor (1, channels, d, h, w).

    Raises:
        DataError: if a size is not positive.
    """
    if size is not None and min(size) < 1:
        raise DataError(f"a scan cannot be resampled to {size}; expected depth, height and width of at least 1")
    values = torch.from_numpy(volume.values)[None, None]
    values = (values - values.mean()) / values.std().clamp_min(1e-6)
    if size is not None and size != volume.values.shape:
        values = torch.nn.functional.interpolate(values, size, mode="trilinear", align_corners=False)
    return values.repeat(1, channels, 1, 1, 1)


def write_map(path: Path, heat: Float[np.ndarray, "d h w"], volume: Volume) -> None:
    """Write a map with the axes of its scan, so that any viewer can lay one over the other.

    Args:
        path: The .nii.gz file to write.
        heat: The map, of the scan's shape.
        volume: The scan that the map explains.

    Raises:
        ExtraMissingError: if nibabel is not installed.
    """
    nibabel = require("nibabel", extra="volumes")
    nibabel.save(nibabel.Nifti1Image(heat.astype(np.float32), volume.affine), path)
