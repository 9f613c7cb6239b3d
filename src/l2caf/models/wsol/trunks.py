"""Trunks with a last grid of 14 x 14, cut from torchvision's and timm's networks and from the package's own.

vgg16        to conv5_3, without pool5; a 3 x 3 convolution of 1024 channels follows (Zhou et al. 2016, VGG-GAP)
resnet50se   timm's seresnet50, the last stage at stride 1 (Choe and Shim 2019)
googlenet    to inception4e, then as VGG16 (Zhou et al. 2016, GoogLeNet-GAP; ACoL cuts there too)
digits       the residual network of `embedded`, 14 x 14 at 112 x 112

ADL follows pool3, pool4 and conv5_3 of VGG16; the first block of the third and both ends of the fourth stage of
SE-ResNet50 (the authors' code, options `3 4 53` and `31 41 5`). It was never published for GoogLeNet: here, as in
InceptionV3 of wsolevaluation, it follows the last block before the last pooling, the trunk's end, and the new
convolution. In the digits network it follows the last two stages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from l2caf.extras import require
from l2caf.models.embedded import WIDTHS, DigitNet, digits
from l2caf.torchvision_compat import import_torchvision

WIDTH: Final = 1024  # channels of the layer that is put on VGG16 and GoogLeNet, and of ACoL's heads
NEW: Final = "conv6"


@dataclass(frozen=True, slots=True)
class Trunk:
    """A network up to its last grid.

    Attributes:
        layers: the layers by name, in order.
        channels: the number of channels of its output.
        widened: whether a new convolution follows before global average pooling.
        adl_after: the layers that an ADL layer follows, by name; `conv6` is the new convolution.
        gamma: ADL's gamma, as the authors set it for this trunk.
        width: the number of channels in ACoL's heads.
    """

    layers: Mapping[str, nn.Module]
    channels: int
    widened: bool
    adl_after: tuple[str, ...]
    gamma: float
    width: int = WIDTH


def vgg16(backbone: Any = None) -> Trunk:
    """VGG16 to conv5_3; `backbone` is torchvision's, None for random weights."""
    layers = (backbone or import_torchvision().models.vgg16(weights=None)).features
    ends = (0, 5, 10, 17, 24, 30)  # a stage ends with its pooling, the last one without
    stages = {f"stage{n + 1}": layers[first:last] for n, (first, last) in enumerate(pairwise(ends))}
    return Trunk(stages, 512, widened=True, adl_after=("stage3", "stage4", "stage5"), gamma=0.8)


def resnet50se(backbone: Any = None) -> Trunk:
    """SE-ResNet50 with its last stage at stride 1; `backbone` is timm's `seresnet50`, None for random weights."""
    net: Any = backbone or _seresnet50()
    first = net.layer4[0]
    first.conv2.stride = first.downsample[0].stride = (1, 1)
    stages = {
        "stem": nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool),
        "layer1": net.layer1, "layer2": net.layer2,
        "layer3_first": net.layer3[0], "layer3_rest": net.layer3[1:],
        "layer4_first": first, "layer4_rest": net.layer4[1:],
    }  # fmt: skip
    return Trunk(stages, 2048, widened=False, adl_after=("layer3_first", "layer4_first", "layer4_rest"), gamma=0.9)


def _seresnet50() -> nn.Module:
    import_torchvision()  # timm imports it, and its operators may have to be declared first
    return require("timm", extra="timm").create_model("seresnet50", pretrained=False)


class _AsPublished(nn.Module):
    """From ImageNet's normalisation to the one that GoogLeNet's published weights were trained with: [-1, 1]."""

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        mean = torch.tensor([0.485, 0.456, 0.406], device=x.device, dtype=x.dtype).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225], device=x.device, dtype=x.dtype).view(3, 1, 1)
        return (x * std + mean - 0.5) / 0.5


def googlenet(backbone: Any = None) -> Trunk:
    """GoogLeNet to inception4e; `backbone` is torchvision's, None for random weights."""
    models = import_torchvision().models
    net = backbone or models.googlenet(weights=None, aux_logits=False, init_weights=False)
    names = (
        "conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3",
        "inception4a", "inception4b", "inception4c", "inception4d", "inception4e",
    )  # fmt: skip
    layers = {"normalise": _AsPublished()} | {name: getattr(net, name) for name in names}
    return Trunk(layers, 832, widened=True, adl_after=("inception3b", "inception4e", NEW), gamma=0.8)


def small(backbone: DigitNet | None = None) -> Trunk:
    """The digits network to its last stage; `backbone` is the embedded one, None for random weights."""
    layers = (backbone or digits(pretrained=False)).features
    stages = dict(zip(("stem", "stage1", "stage2", "stage3"), layers, strict=True))
    return Trunk(stages, WIDTHS[-1], widened=False, adl_after=("stage2", "stage3"), gamma=0.9, width=WIDTHS[-1])


TRUNKS: Final[dict[str, Callable[[Any], Trunk]]] = {
    "vgg16": vgg16, "resnet50se": resnet50se, "googlenet": googlenet, "digits": small
}  # fmt: skip
BACKBONES: Final = {
    "vgg16": "torchvision/vgg16", "resnet50se": "timm/seresnet50", "googlenet": "torchvision/googlenet",
    "digits": "embedded/digits",
}  # fmt: skip
