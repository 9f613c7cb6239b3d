"""The paper's Figure 11: one class-oblivious map of each picture under each constraint.

Softmax comes out sparse, a Gaussian covers one object of several, and the unit L2 norm shows all of them.
Source: Taha et al., ECCV 2020, Sec. 4.4.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from l2caf import pictures
from l2caf.attention import L2CAF
from l2caf.constraints import Gaussian, Softmax, UnitL1, UnitL2
from l2caf.data.pictures import prepare, seen
from l2caf.models import LoadedModel
from l2caf.problem import Constraint
from l2caf.viz.grid import write_grid

COLUMNS: Final[dict[str, Constraint]] = {
    "L2-CAF": UnitL2(),
    "L2, nonnegative": UnitL2(nonnegative=True),
    "L1": UnitL1(),
    "softmax": Softmax(),
    "Gaussian": Gaussian(),
    "Gaussian, fitted": Gaussian(fit_covariance=True),
}


def figure11(path: Path, images: Sequence[Image.Image], loaded: LoadedModel) -> dict[str, list[float]]:
    """Draw the figure.

    Args:
        path: the picture file to write.
        images: RGB pictures, one for each row.
        loaded: a network and how it is fed.

    Returns:
        The loss of every picture under each constraint, by column.

    Raises:
        StorageError: if the figure cannot be written.
    """
    feeding = loaded.card.feeding
    losses: dict[str, list[float]] = {name: [] for name in COLUMNS}
    rows = []
    for image in images:
        inputs, region = prepare(image, **feeding)
        picture = seen(image, region, feeding["size"])
        row = [picture]
        for name, constraint in COLUMNS.items():
            attention = L2CAF(loaded.model, constraint=constraint)(inputs[None].to(loaded.device))
            losses[name].append(float(attention.loss))
            row.append(pictures.overlay(picture, attention.heatmap()[0, 0].cpu().numpy()))
        rows.append(row)
    write_grid(path, ["picture", *COLUMNS], rows)
    return losses
