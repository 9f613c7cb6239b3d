"""`l2caf volume`: a scan and a network in, the scan under its attention out."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from l2caf import storage
from l2caf.attention import L2CAF
from l2caf.attention.targets import Target
from l2caf.data.volumes import as_input, read_volume, write_map
from l2caf.errors import LayerError
from l2caf.jobs.check import check_takes
from l2caf.viz.volume import write_projections, write_slices


def scores_of_volume(output: Any) -> Any:
    """Average a segmentation's scores over its voxels, and leave any other output as it is; meant for `output=`.

    Voxel by voxel a segmentation has more outputs than a filter on its last layer has weights, and the matrix of the
    two does not fit into memory.

    Args:
        output: what a network returned.

    Returns:
        The averages (b, n) of scores (b, n, d, h, w).
    """
    return output.mean((2, 3, 4)) if isinstance(output, Tensor) and output.dim() == 5 else output


def explain_volume(
    path: Path,
    caf: L2CAF,
    output: Path,
    *,
    size: tuple[int, int, int] | None = None,
    target: Target = None,
    overwrite: bool = False,
) -> Path:
    """Explain a scan and write slices, projections and a map, whole or not at all.

    Args:
        path: a NIfTI file.
        caf: the explainer of a network that takes (1, c, d, h, w); the scan is repeated as its channels.
        output: a folder that does not exist yet.
        size: the depth, height and width that the network takes; the scan's own by default.
        target: the classes to explain, as for `L2CAF`; of several classes the first is drawn.
        overwrite: whether an earlier result there is replaced.

    Returns:
        The folder: slices.png, projections.png, attention.nii.gz in the scan's own space, attention/, manifest.json.

    Raises:
        DataError: if the scan cannot be read.
        ModelError: if the network does not take it.
        LayerError: if the filter has no depth.
        StorageError: if the folder exists or cannot be written.
        ExtraMissingError: if nibabel is not installed.
    """
    volume = read_volume(path)
    first = next((module for module in caf.model.modules() if isinstance(module, nn.Conv3d)), None)
    inputs = as_input(volume, size, 1 if first is None else first.in_channels)
    inputs = inputs if first is None else inputs.to(first.weight.device)
    check_takes(caf.model, inputs, "name the size that it was made for (`--shape D,H,W`)")
    attention = caf(inputs, target)
    if len(attention.grid) != 3:
        raise LayerError(
            f"layer {attention.question.layer!r} has a grid of {attention.grid}; expected depth, height and width"
        )
    heat = attention.heatmap(volume.values.shape)[0, 0].cpu().numpy().astype(np.float64)
    with storage.new_folder(output, overwrite=overwrite) as folder:
        write_slices(folder / "slices.png", volume.values, heat)
        write_projections(folder / "projections.png", volume.values, heat)
        write_map(folder / "attention.nii.gz", heat, volume)
        attention.save(folder / "attention")
        storage.write_manifest(
            folder,
            {"format": "l2caf.volume/1", "scan": str(path), "layer": attention.question.layer, "grid": attention.grid},
        )
    return output
