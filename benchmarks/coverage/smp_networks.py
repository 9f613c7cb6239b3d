"""Segmentation networks of segmentation_models_pytorch, on small encoders and without weights."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from benchmarks.coverage.subject import Subject
from l2caf.torchvision_compat import import_torchvision

DECODERS: Final = (
    "Unet", "UnetPlusPlus", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "Linknet", "MAnet", "PAN", "UPerNet",
    "Segformer",
)  # fmt: skip


def subjects() -> Iterator[Subject]:
    """Every decoder on a residual network, and one on other encoders.

    Yields:
        The networks.
    """
    import_torchvision()
    import segmentation_models_pytorch as smp  # noqa: PLC0415

    pairs = [(decoder, "resnet18") for decoder in DECODERS] + [("Unet", "mobilenet_v2"), ("FPN", "mit_b0")]
    for decoder, encoder in pairs:
        build = partial(_network, smp, decoder, encoder)
        yield Subject(f"smp/{decoder} {encoder}", build, (3, 128, 128), _mean_scores)


def _network(smp: Any, decoder: str, encoder: str) -> nn.Module:
    return getattr(smp, decoder)(encoder_name=encoder, encoder_weights=None, classes=4)


def _mean_scores(answer: Tensor) -> Tensor:
    return answer.mean((2, 3))
