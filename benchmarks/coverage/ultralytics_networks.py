"""Detection, segmentation and pose networks of ultralytics, from their descriptions; nothing is downloaded."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from benchmarks.coverage.subject import Subject
from l2caf.torchvision_compat import import_torchvision

NAMES: Final = [f"{kind}{task}" for kind in ("yolov8n", "yolo11n") for task in ("", "-seg", "-pose", "-cls")]


def subjects() -> Iterator[Subject]:
    """Networks of every kind.

    Yields:
        The networks.
    """
    import_torchvision()
    import ultralytics  # noqa: PLC0415

    for name in NAMES:
        yield Subject(f"ultralytics/{name}", partial(_network, ultralytics, name), (3, 160, 160), _predictions)


def _network(ultralytics: Any, name: str) -> nn.Module:
    return ultralytics.YOLO(f"{name}.yaml", verbose=False).model


def _predictions(answer: Any) -> Tensor:
    """A network returns its predictions (b, channels, places), alone or first of several things; their means (b, n)."""
    while not isinstance(answer, Tensor):
        answer = answer[0]
    return answer.mean(2) if answer.dim() == 3 else answer
