"""The small networks that the package carries, trained by this project on its own scenes.

`digits` is a residual network with batch normalisation, global average pooling and one linear layer: 112 x 112 RGB
in, ten logits out, a last grid of 14 x 14. `recipes/digits.py` trains it.
"""

from importlib.resources import as_file, files
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf.errors import WeightsError
from l2caf.models.card import ModelCard

DIGITS_CARD: Final = ModelCard(
    model="embedded/digits",
    size=(112, 112),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    fit="squash",
    labels=tuple("0123456789"),
)
WIDTHS: Final = (24, 48, 96, 128)  # channels after the stem and each stage; strides 2, 2, 2, 1


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a skip connection."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.skip = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c_in, h, w) to (b, c_out, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.skip(x))


class DigitNet(nn.Module):
    """The classifier; `features` is its last layer with a grid."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        first, *rest = WIDTHS
        stem = nn.Sequential(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        stages = [Residual(a, b, stride) for a, b, stride in zip(WIDTHS, rest, (2, 2, 1), strict=False)]
        self.features = nn.Sequential(stem, *stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(WIDTHS[-1], n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of pictures (b, 3, h, w)."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def digits(*, pretrained: bool = True) -> DigitNet:
    """The digit classifier in eval mode.

    Args:
        pretrained: whether the network has the weights that the package carries; otherwise they are random.

    Returns:
        The network, on the CPU, float32.

    Raises:
        WeightsError: if the package's weight file is missing or does not fit.
    """
    model = DigitNet()
    if pretrained:
        try:
            with as_file(files("l2caf.models").joinpath("weights", "digits.safetensors")) as path:
                model.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise WeightsError(f"the embedded weights cannot be loaded: {error}; reinstall l2caf") from error
    return model.eval()
