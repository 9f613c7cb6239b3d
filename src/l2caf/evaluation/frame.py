"""Where a network's input lies in the original picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Boxes = Float[np.ndarray, "_ 4"]  # x0, y0, x1, y1 in pixels, the last ones outside: a pixel at x covers [x, x + 1)


@dataclass(frozen=True, slots=True)
class InputFrame:
    """A picture and the part of it that a network was shown.

    Attributes:
        picture: the width and height of the original picture in pixels.
        region: the part shown as x0, y0, x1, y1 in pixels of the picture; beyond its edges where it was padded.
    """

    picture: tuple[int, int]
    region: tuple[float, float, float, float]

    @classmethod
    def whole(cls, width: int, height: int) -> "InputFrame":
        """All of a picture was shown."""
        return cls((width, height), (0.0, 0.0, float(width), float(height)))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the part shown, in whole pixels of the picture."""
        x0, y0, x1, y1 = self.region
        return max(1, round(y1 - y0)), max(1, round(x1 - x0))

    def to_picture(self, boxes: Boxes, size: tuple[int, int]) -> Boxes:
        """Boxes of a map of the part shown, in pixels of the picture.

        Args:
            boxes: boxes (n, 4) in pixels of the map.
            size: the height and width of the map.

        Returns:
            Boxes (n, 4), cut at the picture's edges.
        """
        corner, scale = self._affine(size)
        moved = boxes.reshape(-1, 2, 2) * scale + corner
        return moved.clip(0, np.asarray(self.picture, dtype=float)).reshape(-1, 4)

    def to_input(self, boxes: Boxes, size: tuple[int, int]) -> Boxes:
        """Boxes (n, 4) of the picture, in pixels of a map (height, width) of the part shown, cut at the map's edges."""
        corner, scale = self._affine(size)
        moved = (boxes.reshape(-1, 2, 2) - corner) / scale
        return moved.clip(0, np.asarray(size[::-1], dtype=float)).reshape(-1, 4)

    def _affine(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        x0, y0, x1, y1 = self.region
        return np.array([x0, y0]), np.array([(x1 - x0) / size[1], (y1 - y0) / size[0]])


def iou(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"], *, inclusive: bool = False
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box with every other.

    Args:
        boxes: n boxes.
        others: m boxes in the same pixels.
        inclusive: corners are pixels that belong to the box, so that sides measure x1 - x0 + 1, as in the ILSVRC
            development kit, ADL and wsolevaluation.

    Returns:
        Overlaps (n, m) in [0, 1]; 0 where the union is empty.
    """
    more = 1.0 if inclusive else 0.0
    boxes, others = np.asarray(boxes, float)[:, None], np.asarray(others, float)[None]
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2]) + more
    common = sides.clip(0).prod(-1)
    areas = [(corners[..., 2:] - corners[..., :2] + more).clip(0).prod(-1) for corners in (boxes, others)]
    union = areas[0] + areas[1] - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0.0)
