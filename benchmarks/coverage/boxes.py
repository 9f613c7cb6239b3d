"""torchvision's non-maximum suppression in Python, for where its compiled operators do not load.

`roi_align` needs nothing: torchvision has it in Python, too, and takes that where nothing is compiled.
"""

import torch
from torch import Tensor

from l2caf.torchvision_compat import import_torchvision

_library: torch.library.Library | None = None  # its registrations last as long as it lives


def need_boxes() -> None:
    """Make networks of torchvision that return boxes run; a healthy installation is left alone."""
    global _library  # noqa: PLW0603
    torchvision = import_torchvision()
    if torchvision.extension._has_ops() or _library is not None:  # noqa: SLF001  (there is no public way to ask)
        return
    _library = torch.library.Library("torchvision", "IMPL")
    _library.impl("nms", nms, "CPU")
    torchvision.ops.boxes._assert_has_ops = lambda: None  # noqa: SLF001


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (n, 4), corners x1, y1, x2, y2.
        scores: (n,).
        iou_threshold: a box goes that overlaps a better one by more.

    Returns:
        The numbers of the boxes that stay, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    stays = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if stays[i]:
            corner = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
            opposite = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
            common = (opposite - corner).clamp_min(0).prod(1)
            stays[i + 1 :] &= common <= iou_threshold * (areas[i] + areas[i + 1 :] - common)
    return order[stays]
