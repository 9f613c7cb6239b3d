"""`l2caf volume`: a scan and a network in, the scan under its attention out."""

from pathlib import Path

import numpy as np
from torch import nn

from l2caf import storage
from l2caf.attention import L2CAF
from l2caf.attention.targets import Target
from l2caf.data.volumes import as_input, read_volume, write_map
from l2caf.errors import LayerError
from l2caf.viz.volume import write_projections, write_slices


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
        size: depth, height and width that the network takes; the scan's own by default.
        target: as for `L2CAF`; of several classes the first is drawn.
        overwrite: replace an earlier result there.

    Returns:
        The folder: slices.png, projections.png, attention.nii.gz in the scan's own space, attention/, manifest.json.

    Raises:
        DataError: if the scan cannot be read.
        LayerError: if the filter has no depth.
        StorageError: if the folder exists or cannot be written.
        ExtraMissingError: if nibabel is not installed.
    """
    volume = read_volume(path)
    first = next((module for module in caf.model.modules() if isinstance(module, nn.Conv3d)), None)
    inputs = as_input(volume, size, 1 if first is None else first.in_channels)
    attention = caf(inputs if first is None else inputs.to(first.weight.device), target)
    if len(attention.grid) != 3:
        raise LayerError(f"layer {attention.layer!r} has a grid of {attention.grid}; expected depth, height and width")
    heat = attention.heatmap(volume.values.shape)[0, 0].cpu().numpy().astype(np.float64)
    with storage.new_folder(output, overwrite=overwrite) as folder:
        write_slices(folder / "slices.png", volume.values, heat)
        write_projections(folder / "projections.png", volume.values, heat)
        write_map(folder / "attention.nii.gz", heat, volume)
        attention.save(folder / "attention")
        storage.write_manifest(
            folder, {"format": "l2caf.volume/1", "scan": str(path), "layer": attention.layer, "grid": attention.grid}
        )
    return output
