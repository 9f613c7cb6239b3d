"""The networks by name: an architecture and a training, such as `vgg16-adl`."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, get_args

from jaxtyping import Float, Int
from torch import Tensor, nn

from l2caf.errors import ModelError, nearest
from l2caf.models.card import ModelCard
from l2caf.models.embedded import DIGITS_CARD
from l2caf.models.wsol.acol import THRESHOLD, ACoL
from l2caf.models.wsol.adl import ADL, DROP_RATE
from l2caf.models.wsol.trunks import NEW, TRUNKS, WIDTH, Trunk

Architecture = Literal["vgg16", "resnet50se", "googlenet", "digits"]
Training = Literal["gap", "adl", "acol"]

N_CLASSES: Final = {"digits": 10}  # of the others: 1000
NEW_LAYERS: Final = (f"features.{NEW}", "classifier", "first", "second")  # what no backbone brings weights for
FROM_ADL: Final = ModelCard(
    size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="squash-crop"
)  # Choe and Shim's input: 256 x 256, its centre of 224 x 224


class GapNet(nn.Module):
    """A trunk, global average pooling and one linear layer.

    Attributes:
        features: the trunk, with or without ADL layers, from pictures (b, 3, H, W) to features (b, c, h, w).
    """

    def __init__(self, features: nn.Sequential, channels: int, n_classes: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, n_classes)

    def forward(
        self, x: Float[Tensor, "b 3 h w"], target: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b n"] | Float[Tensor, "1 b n"]:
        """Logits (b, n) of pictures; with their classes (1, b, n), in the shape in which `ACoL` gives both heads'."""
        logits = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits if target is None else logits[None]


def build(name: str, *, num_classes: int | None = None, backbone: nn.Module | None = None, **options: Any) -> nn.Module:
    """Make a network.

    Args:
        name: the network's name, such as `vgg16-adl`.
        num_classes: the number of logits; None for 1000, or 10 for digits.
        backbone: the network to cut the trunk from (`trunks.BACKBONES`). It is taken apart and cannot be used
            afterwards. None for random weights.
        options: `gamma` and `drop_rate` for ADL, `threshold` for ACoL.

    Returns:
        The network in training mode; its new layers are random. The weights of a `gap` network fit the `adl` network
        of the same architecture, as ADL has no weights.

    Raises:
        ModelError: if there is no such network, or an option is out of range.
        TypeError: if the training has no such option.
    """
    architecture, training = parts(name)
    trunk = TRUNKS[architecture](backbone)
    n_classes = N_CLASSES.get(architecture, 1000) if num_classes is None else num_classes
    if n_classes < 1:
        raise ModelError(f"num_classes={n_classes}: expected at least 1")
    makers: dict[str, Callable[..., nn.Module]] = {"gap": _gap, "adl": _adl, "acol": _acol}
    model = makers[training](trunk, n_classes, **options)
    for layer in new_layers(model):
        _initialise(layer)
    return model


def _gap(trunk: Trunk, n_classes: int) -> GapNet:
    return GapNet(_in_order(_widened(trunk)), WIDTH if trunk.widened else trunk.channels, n_classes)


def _adl(trunk: Trunk, n_classes: int, *, gamma: float | None = None, drop_rate: float = DROP_RATE) -> GapNet:
    layers: dict[str, nn.Module] = {}
    for name, layer in _widened(trunk).items():
        layers[name] = layer
        if name in trunk.adl_after:
            layers[f"{name}_adl"] = ADL(trunk.gamma if gamma is None else gamma, drop_rate)
    return GapNet(_in_order(layers), WIDTH if trunk.widened else trunk.channels, n_classes)


def _acol(trunk: Trunk, n_classes: int, *, threshold: float = THRESHOLD) -> ACoL:
    return ACoL(_in_order(trunk.layers), trunk.channels, n_classes, width=trunk.width, threshold=threshold)


def _widened(trunk: Trunk) -> dict[str, nn.Module]:
    new = nn.Sequential(nn.Conv2d(trunk.channels, WIDTH, 3, padding=1), nn.ReLU())
    return {**trunk.layers, NEW: new} if trunk.widened else dict(trunk.layers)


def _in_order(layers: Mapping[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def new_layers(model: nn.Module) -> list[nn.Module]:
    """The parts of a network that no backbone brings weights for."""
    named = dict(model.named_modules())
    return [named[name] for name in NEW_LAYERS if name in named]


def _initialise(layer: nn.Module) -> None:
    """He's weights for convolutions, small ones where scores come out, so that logits begin near zero."""
    for part in layer.modules():
        match part:
            case nn.Conv2d() if part.kernel_size != (1, 1):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            case nn.Conv2d() | nn.Linear():
                nn.init.normal_(part.weight, std=0.01)
            case _:
                continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def parts(name: str) -> tuple[str, str]:
    """Architecture and training of a network.

    Args:
        name: the network's name, such as `vgg16-adl`.

    Returns:
        The two names, such as `("vgg16", "adl")`.

    Raises:
        ModelError: if there is no such network.
    """
    if name not in names():
        raise ModelError(f"unknown network 'wsol/{name}'{nearest(name, names())}; expected one of {', '.join(names())}")
    architecture, _, training = name.rpartition("-")
    return architecture, training


def names() -> list[str]:
    """Every network that `build` knows."""
    return [f"{architecture}-{training}" for architecture in TRUNKS for training in get_args(Training)]


def card(name: str) -> ModelCard:
    """The card of a network: ADL's preprocessing, or that of the embedded network."""
    if parts(name)[0] == "digits":
        return replace(DIGITS_CARD, model=f"wsol/{name}", labels=None)
    return replace(FROM_ADL, model=f"wsol/{name}")
