"""Python's way in: a network by name that explains whatever is a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from l2caf import models
from l2caf.attention import L2CAF, Attention
from l2caf.attention.targets import Target
from l2caf.data.pictures import as_rgb, prepare, read_picture
from l2caf.errors import DataError, ModelError
from l2caf.jobs.explain import class_name
from l2caf.models import LoadedModel, ModelCard

Picture = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True, repr=False, eq=False)
class PictureAttention(Attention):
    """An `Attention` of pictures that `Network.explain` prepared; `overlay()` draws on what the network was shown.

    Attributes:
        inputs: (b, 3, h, w), what the network was shown, in its colours, RGB in [0, 1].
        labels: a name for each output; None where nobody named them.
    """

    labels: Sequence[str] | None = None

    def label_of(self, place: tuple[int, ...]) -> str:
        """What the map at a place (input, [run,] target) explains, such as `dog (1)`."""
        target = self.target_of(place)
        return "all that it says" if target is None else class_name(target, self.labels)


@dataclass(frozen=True, slots=True)
class Network(LoadedModel):
    """A network with its weights that prepares pictures as it wants them and explains them. `load` makes it."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """A name for each output; None where nobody named them."""
        return self.card.labels

    def prepare(self, pictures: Picture | Sequence[Picture]) -> Float[Tensor, "b 3 h w"]:
        """What the network is fed.

        Args:
            pictures: one picture or several, each the path of a file, an image of Pillow, an array (h, w, 3) or (h, w)
                of uint8, or a tensor: of uint8 (3, h, w), a picture; of floats (3, h, w), already prepared. A tensor
                (b, 3, h, w) is several.

        Returns:
            The batch, on the network's device.

        Raises:
            DataError: if a picture cannot be read, is none of these, or there is none, or prepared ones differ in size.
            ModelError: if the network sees clips.
        """
        if self.card.frames is not None:
            raise ModelError(f"{self.name} sees clips of {self.card.frames} frames; `l2caf video` explains films")
        several = _each(pictures)
        if not several:
            raise DataError("there are no pictures; expected at least one")
        rows = [self._prepared(one) for one in several]
        sizes = sorted({tuple(row.shape) for row in rows})
        if len(sizes) > 1:
            raise DataError(
                f"prepared pictures have several shapes ({', '.join(map(str, sizes))}); give them one by one"
            )
        return torch.stack(rows).to(self.device)

    def _prepared(self, picture: Picture) -> Float[Tensor, "3 h w"]:
        if isinstance(picture, Tensor) and picture.is_floating_point():
            return picture
        return prepare(_image(picture), **self.card.feeding)[0]

    def explain(self, pictures: Picture | Sequence[Picture], target: Target = None, **options: Any) -> PictureAttention:
        """Where the network looks in pictures.

        Args:
            pictures: one picture or several; see `prepare`.
            target: the classes to explain, as for `L2CAF`; None for the class-oblivious map.
            options: those of `L2CAF`, such as `layer="layer3"`.

        Returns:
            Filters for every picture and target, with losses, certificates, labels, and the pictures to draw on.
            Errors are those of `prepare` and `L2CAF`.
        """
        inputs = self.prepare(pictures)
        attention = L2CAF(self.model, **options)(inputs, target)
        found = {one.name: getattr(attention, one.name) for one in fields(attention)}
        return PictureAttention(**{**found, "inputs": self._shown(inputs), "labels": self.labels})

    def _shown(self, inputs: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Prepared pictures as pictures."""
        feeding = self.card.feeding
        mean, std = (torch.tensor(feeding[one], device=inputs.device).view(-1, 1, 1) for one in ("mean", "std"))
        shown = (inputs * std + mean).clamp(0, 1)
        return shown.flip(1) if self.card.channels == "bgr" else shown


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    card: ModelCard | str | Path | None = None,
    pretrained: bool = True,
    device: torch.device | str = "cpu",
) -> Network:
    """Load a network with its weights, what it wants to be fed, and the names of its outputs.

    Args:
        name: as `--model` takes it: `resnet50`, `torchvision/NAME`, `timm/NAME`, `hf/NAME-OR-FOLDER`,
            `embedded/digits`, `wsol/NAME`, `package.module:constructor`; `l2caf models` lists them.
        weights: a weight file, or a folder of the Hugging Face hub; None for what the name's library publishes.
        card: what you know about the network, or its file; the rest is taken from the card beside the weights, then
            from the library. `ModelCard(arguments={...})` gives keywords to the constructor.
        pretrained: whether a network without a weight file gets its library's weights; False leaves its weights
            random (seed 0).
        device: where the network is put.

    Returns:
        The network in eval mode.

    Raises:
        ModelError: if there is no such network or device, or the constructor refuses the arguments.
        WeightsError: if weights or card cannot be had, read or fitted.
        ExtraMissingError: if the network's library is not installed.

    Example:
        >>> network = load("embedded/digits")
        >>> attention = network.explain(np.zeros((60, 80, 3), dtype=np.uint8), target=[3, 8])
        >>> attention.overlay().shape, attention.label_of((0, 1))
        ((1, 2, 112, 112, 3), 'class 8')
    """
    said = ModelCard.read(Path(card)) if isinstance(card, str | Path) else card
    file = None if weights is None else Path(weights)
    loaded = models.load(name, weights=file, card=said, pretrained=pretrained)
    try:
        loaded.model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return Network(**{one.name: getattr(loaded, one.name) for one in fields(loaded)})


def _each(pictures: Picture | Sequence[Picture]) -> list[Picture]:
    """The pictures one by one."""
    match pictures:
        case str() | Path() | Image.Image():
            return [pictures]
        case np.ndarray() | Tensor():
            return list(pictures) if pictures.ndim == 4 else [pictures]
    return list(pictures)


def _image(picture: Picture) -> Image.Image:
    """A picture of any kind but prepared ones as RGB."""
    match picture:
        case str() | Path():
            return read_picture(Path(picture))
        case Image.Image():
            return as_rgb(picture)
        case Tensor():
            return _from_array(picture.cpu().movedim(0, -1).numpy())
        case np.ndarray():
            return _from_array(picture)
    raise DataError(f"a {type(picture).__name__} is no picture; expected a path, an image, an array or a tensor")


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or 0 in pixels.shape:
        raise DataError(
            f"an array of {pixels.dtype} of shape {pixels.shape} is no picture; expected uint8 (h, w, 3), or a tensor "
            "of floats (3, h, w) that is prepared already"
        )
    return as_rgb(Image.fromarray(pixels))
