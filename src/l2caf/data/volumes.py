"""Volumes from files: NIfTI, in the orientation in which radiologists number slices."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import DataError, ExtraMissingError


@dataclass(frozen=True, slots=True)
class Volume:
    """A scan.

    Attributes:
        values: (d, h, w), float32: axial slices from feet to head, rows from front to back, columns from right to left.
        affine: (4, 4), from (d, h, w) indices to millimetres, in NIfTI's right-anterior-superior axes.
    """

    values: Float[np.ndarray, "d h w"]
    affine: Float[np.ndarray, "4 4"]


def read_volume(path: Path) -> Volume:
    """A scan from a NIfTI file, turned to standard axes whatever its own.

    Args:
        path: .nii or .nii.gz, of one volume.

    Returns:
        The scan; what is not finite is 0.

    Raises:
        DataError: if the file cannot be read, or does not hold one volume of numbers.
        ExtraMissingError: if nibabel is not installed.
    """
    try:
        import nibabel  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ExtraMissingError("NIfTI files need nibabel: pip install 'l2caf[volumes]'") from error
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
    """A scan as a network takes it: of mean 0 and deviation 1.

    Args:
        volume: the scan.
        size: depth, height and width to resample to; its own by default.
        channels: how often the values are repeated.

    Returns:
        (1, channels, d, h, w), float32.

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
    """Write a map beside the scan that it explains, so that any viewer lays one over the other.

    Args:
        path: a .nii.gz file.
        heat: of the scan's shape.
        volume: the scan.

    Raises:
        ExtraMissingError: if nibabel is not installed.
    """
    try:
        import nibabel  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ExtraMissingError("NIfTI files need nibabel: pip install 'l2caf[volumes]'") from error
    nibabel.save(nibabel.Nifti1Image(heat.astype(np.float32), volume.affine), path)
