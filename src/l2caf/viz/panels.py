"""From an attention to what a page shows: each map on the part of the picture that the network was shown."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf import pictures
from l2caf.attention import Attention
from l2caf.data.pictures import Region
from l2caf.viz.report import Panel

LONGEST_PX: Final = 1024  # pictures in results are not larger
MAP_ONLY: Final = "map only"
MAP_ONLY_NOTE: Final = "The map of another method. It comes without a loss, so nothing is proven of it."


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a map lies on its picture.

    Attributes:
        size: The width and height of the picture.
        region: The rectangle (x0, y0, x1, y1) of the picture that the network was shown.
        time_s: The seconds that were spent on each map.
        picture: The RGB picture, if it is not the picture of the page's entry; otherwise None.
    """

    size: tuple[int, int]
    region: Region
    time_s: float
    picture: UInt8[np.ndarray, "h w 3"] | None = None


def shown(picture: Image.Image, region: Region) -> tuple[Image.Image, Region]:
    """Shrink a picture to the size at which results show it.

    Args:
        picture: A picture of any size; it is not changed.
        region: A rectangle (x0, y0, x1, y1) in pixels of the picture.

    Returns:
        The picture, with a longest side of at most `LONGEST_PX`, and the rectangle in pixels of the smaller picture.
    """
    small = picture.copy()
    small.thumbnail((LONGEST_PX, LONGEST_PX))
    x0, y0, x1, y1 = (value * small.width / picture.width for value in region)
    return small, (x0, y0, x1, y1)


def panel(attention: Attention, place: tuple[int, ...], label: str, framing: Framing) -> Panel:
    """Prepare one map of an attention for a page.

    Args:
        attention: The attention of a network that takes pictures.
        place: Where the map is, as `Attention.places` gives it: (input, target), or (input, run, target).
        label: What the map explains.
        framing: Where the map lies on its picture.

    Returns:
        The panel.
    """
    certificate, unique = attention.certificate[place], attention.evidence.unique
    return Panel(
        label=label,
        heatmap=pictures.in_frame(attention.filter[place], framing.size, framing.region),
        loss=float(attention.loss[place]),
        uniform_loss=float(attention.uniform_loss[place]),
        certificate=certificate.label,
        certificate_note=certificate.value,
        relative=attention.target is None,
        negative_share=float(attention.negative_share[place]),
        unique=None if unique is None else bool(unique[place]),
        undecided=bool(attention.undecided[place]),
        time_s=framing.time_s,
        picture=framing.picture,
    )


def map_panel(heat: Float[np.ndarray, "h w"], label: str, framing: Framing) -> Panel:
    """Prepare the map of another method, which has no loss, for a page.

    Args:
        heat: The map, non-negative, on any grid over the part of the picture that the network was shown.
        label: The name of the method, and what the map explains.
        framing: Where the map lies on its picture.

    Returns:
        The panel.
    """
    laid = pictures.in_frame(torch.from_numpy(heat), framing.size, framing.region)
    return Panel(
        label, laid, loss=float("nan"), uniform_loss=float("nan"), certificate=MAP_ONLY,
        certificate_note=MAP_ONLY_NOTE, negative_share=0.0, unique=None, time_s=framing.time_s, picture=framing.picture,
    )  # fmt: skip
