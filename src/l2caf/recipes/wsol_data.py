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
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from l2caf.data.boxed import ILSVRC_PICTURES, BoxedSet, read_boxed
from l2caf.data.digit_scenes import DigitScenes
from l2caf.data.pictures import SQUASH_CROP, prepare, read_picture
from l2caf.errors import DataError
from l2caf.models import ModelCard
from l2caf.recipes.digits import augmented
from l2caf.torchvision_compat import import_torchvision
from l2caf.training.feed import Items

TENTH: Final = 10
DIGITS_EPOCH: Final = 1600  # scenes
DIGITS_VALIDATION: Final = 200
DIGITS_JITTER: Final = 0.15

Sample = tuple[Path, int]
Item = tuple[Float[Tensor, "3 h w"], int]


@dataclass(frozen=True, slots=True)
class Trees:
    """Training and validation items of one data set.

    Attributes:
        train: tensors as the network takes them, randomly cropped and mirrored, and classes.
        validation: likewise, nothing random.
        classes: a name for each class.
    """

    train: Items
    validation: Items
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Picture files as a network takes them."""

    samples: Sequence[Sample]
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
        spec: as listed above.
        card: size, mean, deviation and fit of the network's input.

    Returns:
        The items.

    Raises:
        DataError: if a folder or every picture is missing, there is only one class, or nothing to validate on.
    """
    if spec == "digits":
        return _digits(card)
    name, _, path = spec.rpartition(":")
    root = Path(path)
    if name not in {"", "cub", "ilsvrc"}:
        raise DataError(
            f"training data {spec!r} is not understood; expected cub:ROOT, ilsvrc:ROOT, a folder, or digits"
        )
    if not root.is_dir():
        raise DataError(f"{root} is no folder; expected the root of a data set")
    train, validation, classes = {"cub": _cub, "ilsvrc": _ilsvrc, "": _folders}[name](root)
    n_classes = len({label for _, label in train})
    if n_classes < 2:
        raise DataError(f"{spec} has training pictures of {n_classes} class; a classifier needs two or more")
    if not validation:
        raise DataError(f"{spec} leaves no pictures to validate on; put some into {root}/val, beside {root}/train")
    pictures = partial(_Pictures, card=card)
    return Trees(pictures(train, is_augmented=True), pictures(validation, is_augmented=False), classes)


def _digits(card: ModelCard) -> Trees:
    return Trees(
        _Digits(DigitScenes("train", objects=1, length=DIGITS_EPOCH), card),
        _Digits(DigitScenes("validation", objects=1, length=DIGITS_VALIDATION, seed=1), card),
        tuple("0123456789"),
    )


def _cub(root: Path) -> tuple[list[Sample], list[Sample], tuple[str, ...]]:
    train, test = read_boxed(f"cub:{root}", "train"), read_boxed(f"cub:{root}", "test")
    return _labelled(train), _labelled(test), train.classes


def _ilsvrc(root: Path) -> tuple[list[Sample], list[Sample], tuple[str, ...]]:
    places = [root / place.removesuffix("val") / "train" for place in ILSVRC_PICTURES]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(f"{root} holds no training pictures; looked for {', '.join(map(str, places))}")
    train, wnids = _tree(folder)
    validation = read_boxed(f"ilsvrc:{root}")
    if len(wnids) != len(validation.classes):
        raise DataError(
            f"{folder} has {len(wnids)} class folders, the validation set {len(validation.classes)} classes; class "
            "numbers would not be the same"
        )
    return train, _labelled(validation), validation.classes


def _folders(root: Path) -> tuple[list[Sample], list[Sample], tuple[str, ...]]:
    if (root / "train").is_dir() and (root / "val").is_dir():
        train, classes = _tree(root / "train")
        validation, others = _tree(root / "val")
        if classes != others:
            raise DataError(f"{root}/train and {root}/val have different class folders")
        return train, validation, classes
    samples, classes = _tree(root)
    held_out = {sample for label in range(len(classes)) for sample in _every_tenth(samples, label)}
    return [sample for sample in samples if sample not in held_out], sorted(held_out), classes


def _every_tenth(samples: list[Sample], label: int) -> list[Sample]:
    return [sample for sample in samples if sample[1] == label][TENTH // 2 :: TENTH]


def _tree(root: Path) -> tuple[list[Sample], tuple[str, ...]]:
    """Files and classes of a folder per class, as torchvision counts them."""
    try:
        tree: Any = import_torchvision().datasets.ImageFolder(str(root))
    except FileNotFoundError as error:
        raise DataError(f"{root} is no tree of a folder per class: {str(error).splitlines()[0]}") from error
    return [(Path(file), int(label)) for file, label in tree.samples], tuple(tree.classes)


def _labelled(boxed: BoxedSet) -> list[Sample]:
    return [(picture.file, picture.label) for picture in boxed.pictures]
