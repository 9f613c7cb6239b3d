"""What the localisation networks are trained on: pictures and their classes, without boxes.

    cub:ROOT      CUB-200-2011's training split; validated on its test split
    ilsvrc:ROOT   train/WNID folders; validated on the validation pictures
    FOLDER        a folder per class, or train/ and val/ of such; without val/ every tenth picture validates
    digits        DigitScenes of one digit, endless and without a download

As its authors did, the checkpoint is chosen by the pictures that validate: for CUB and ImageNet those of the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from l2caf.data.digit_scenes import DigitScenes
from l2caf.data.pictures import SQUASH_CROP, prepare, read_picture
from l2caf.data.sets import LabelledFile, read_training
from l2caf.errors import DataError
from l2caf.models import ModelCard
from l2caf.recipes.digits import augmented
from l2caf.torchvision_compat import import_torchvision
from l2caf.training.feed import Items

DIGITS_EPOCH: Final = 1600  # scenes
DIGITS_VALIDATION: Final = 200
DIGITS_JITTER: Final = 0.15

Item = tuple[Float[Tensor, "3 h w"], int]


@dataclass(frozen=True, slots=True)
class Trees:
    """Training and validation items of one data set.

    Attributes:
        train: tensors as the network takes them, randomly cropped and mirrored, and classes.
        validation: tensors as the network takes them, without random changes, and classes.
        classes: a name for each class.
    """

    train: Items
    validation: Items
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Picture files as a network takes them."""

    samples: Sequence[LabelledFile]
    card: ModelCard
    is_augmented: bool

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        file, label = self.samples[index]
        picture = read_picture(file)
        return (cropped if self.is_augmented else plain)(picture, self.card), label


def plain(picture: Image.Image, card: ModelCard) -> Float[Tensor, "3 h w"]:
    """A picture as a network takes it."""
    size, mean, std = _wanted(card)
    return prepare(picture, size=size, mean=mean, std=std, fit=card.fit or "squash")[0]


def cropped(picture: Image.Image, card: ModelCard) -> Float[Tensor, "3 h w"]:
    """Squashed to 8/7 of the network's input, cut out anywhere, mirrored or not (Choe and Shim 2019)."""
    size, mean, std = _wanted(card)
    transforms = import_torchvision().transforms
    steps = [
        transforms.Resize([round(side / SQUASH_CROP) for side in size]),
        transforms.RandomCrop(size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    return transforms.Compose(steps)(picture)


def _wanted(card: ModelCard) -> tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]]:
    return card.size or (224, 224), card.mean or (0.0,) * 3, card.std or (1.0,) * 3


@dataclass(frozen=True, slots=True)
class _Digits:
    """Scenes of one digit; channels shuffled, slightly sheared and scaled where training."""

    scenes: DigitScenes
    card: ModelCard

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Item:
        sample = self.scenes[index]
        inputs = plain(Image.fromarray(np.ascontiguousarray(sample.image)), self.card)
        if self.scenes.split == "train":
            inputs = augmented(inputs[None], DIGITS_JITTER)[0]
        return inputs, int(sample.classes[0])


def read_trees(spec: str, card: ModelCard) -> Trees:
    """Training data by its folder.

    Args:
        spec: the data set's name and folder, as listed above.
        card: size, mean, deviation and fit of the network's input.

    Returns:
        The items.

    Raises:
        DataError: if a folder or every picture is missing, there is only one class, or nothing to validate on.
    """
    if spec == "digits":
        return _digits(card)
    found = read_training(spec)
    n_classes = len({label for _, label in found.train})
    if n_classes < 2:
        raise DataError(f"{spec} has training pictures of {n_classes} class; a classifier needs two or more")
    if not found.validation:
        root = spec.rpartition(":")[2]
        raise DataError(f"{spec} leaves no pictures to validate on; put some into {root}/val, beside {root}/train")
    pictures = partial(_Pictures, card=card)
    return Trees(
        pictures(found.train, is_augmented=True), pictures(found.validation, is_augmented=False), found.classes
    )


def _digits(card: ModelCard) -> Trees:
    return Trees(
        _Digits(DigitScenes("train", objects=1, length=DIGITS_EPOCH), card),
        _Digits(DigitScenes("validation", objects=1, length=DIGITS_VALIDATION, seed=1), card),
        tuple("0123456789"),
    )
