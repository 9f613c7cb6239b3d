"""The table of data sets, and how one is read by its name and folder.

A data set is one file: it describes itself as a `DataSet` and enters `DATA_SETS` under its name. `"cub:ROOT"` is then
CUB in the folder ROOT, and `"package.module:NAME:ROOT"` is a data set of your own that nobody registered.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from l2caf.data.boxed import BoxedSet, Split
from l2caf.data.retrieval_sets import ClassedPictures, RetrievalSet
from l2caf.errors import DataError
from l2caf.registry import Registry

LabelledFile = tuple[Path, int]
FOLDER: Final = "folder"  # what a folder of unknown layout is read as where no boxes are needed


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Picture files by class, to train a classifier on.

    Attributes:
        train: Files and classes to learn from.
        validation: Files and classes by which the best weights are chosen.
        classes: One name for each class.
    """

    train: list[LabelledFile]
    validation: list[LabelledFile]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Everything that l2caf knows of one data set.

    A reader that is None says that the data set cannot be used for that purpose.

    Attributes:
        source: Where the data set can be had: an address, or words that end the sentence "where to get cub: ...".
        marks: Glob patterns below the root; a folder in which one of them matches is taken for this data set.
        boxed: Reads pictures with boxes, given the root and the split.
        retrieval: Reads the training or the test classes for retrieval, given the root and the split; whether the
            files are there is checked afterwards.
        training: Reads pictures and classes to train a localisation network on, given the root.
        drawn: Draws the classes for retrieval, given the text after the colon, the split and a seed; for data sets
            that need no folder.
        rank: Data sets of lower rank are looked for first when a folder is given without a name.
    """

    source: str
    marks: tuple[str, ...] = ()
    boxed: Callable[[Path, Split], BoxedSet] | None = None
    retrieval: Callable[[Path, Split], ClassedPictures] | None = None
    training: Callable[[Path], TrainingSet] | None = None
    drawn: Callable[[str, Split, int], RetrievalSet] | None = None
    rank: int = 0

    def is_at(self, root: Path) -> bool:
        """Return whether a folder holds this data set."""
        return any(any(root.glob(pattern)) for pattern in self.marks)


DATA_SETS: Final = Registry[DataSet]("data set", DataError)


def data_set(name: str) -> DataSet:
    """Look up a data set.

    Args:
        name: A name in `DATA_SETS`, or `package.module:NAME`.

    Returns:
        The data set.

    Raises:
        DataError: if there is no data set of this name, or the name belongs to something else.
    """
    found = DATA_SETS[name]
    if not isinstance(found, DataSet):  # what package.module:NAME imports may be anything
        raise DataError(f"{name} is a {type(found).__name__}; expected an l2caf.data.sets.DataSet")
    return found


def read_boxed(spec: str | Path, split: Split = "test") -> BoxedSet:
    """Read pictures with boxes.

    Args:
        spec: `"cub:ROOT"`, `"ilsvrc:ROOT"`, `"wsol:ROOT"`, `"csv:ROOT"`, a data set of your own such as
            `"package.module:NAME:ROOT"`, or a folder whose layout is recognised by its files.
        split: `"train"` or `"test"`. CUB and wsolevaluation have both; the others have boxes for one split only, which
            is read whatever this says.

    Returns:
        The set.

    Raises:
        DataError: if the data set is unknown or has no boxes, the folder, a file of the layout or every picture is
            missing, or a line cannot be read; the message names the file and the line.
    """
    name, root = located(spec, has_boxes)
    if not name:
        known = "; ".join(f"{name}: {' or '.join(one.marks)}" for name, one in _by_rank() if has_boxes(one))
        raise DataError(f"{root} has none of the known layouts ({known}); say which with a prefix such as cub:{root}")
    read = data_set(name).boxed
    if read is None:
        raise DataError(_lacking(name, "boxes", has_boxes))
    return read(root, split)


def read_retrieval(spec: str | Path, split: Split = "test", *, seed: int = 0) -> RetrievalSet:
    """Read the training or the test classes of a data set for metric learning.

    Args:
        spec: `"cub:ROOT"`, `"cars:ROOT"`, `"sop:ROOT"`, `"folder:ROOT"`, `"digits"` or `"digits:500"` for 500 scenes, a
            data set of your own such as `"package.module:NAME:ROOT"`, or a folder. A folder whose layout is not
            recognised is read as one folder for each class.
        split: `"train"` or `"test"`; the two have no class in common.
        seed: The seed of scenes that are drawn; it has no effect on data sets that are read from files.

    Returns:
        The set.

    Raises:
        DataError: if the data set is unknown or has no classes for retrieval, the folder, a file of the layout or every
            picture of the split is missing, a line cannot be read, or two layouts are mixed; the message names the
            file and the line.
    """
    name, _, place = str(spec).rpartition(":")
    if not name and place in DATA_SETS and DATA_SETS[place].drawn is not None:
        name, place = place, ""
    if name and (draw := data_set(name).drawn) is not None:
        return draw(place, split, seed)
    name, root = located(spec, has_retrieval)
    name = name or FOLDER
    read = data_set(name).retrieval
    if read is None:
        raise DataError(_lacking(name, "classes for retrieval", has_retrieval))
    names, pictures = read(root, split)
    present = tuple(picture for picture in pictures if picture.file.is_file())
    there = {picture.file for picture in present}
    missing = tuple(picture.file for picture in pictures if picture.file not in there)
    if not present:
        where = f"; the first that is missing: {missing[0]}" if missing else ""
        raise DataError(f"no {split} picture of this {name} set is there{where}")
    return RetrievalSet(name, split, names, present, missing)


def read_training(spec: str) -> TrainingSet:
    """Read pictures and their classes, to train a localisation network without boxes.

    Args:
        spec: `"cub:ROOT"`, `"ilsvrc:ROOT"`, a data set of your own such as `"package.module:NAME:ROOT"`, or a folder
            that holds one folder for each class.

    Returns:
        The files.

    Raises:
        DataError: if the data set is unknown or has no training pictures, or a folder or list is missing.
    """
    name, root = located(spec, lambda _: False)  # without a name it is a folder for each class, whatever else is there
    name = name or FOLDER
    read = data_set(name).training
    if read is None:
        raise DataError(_lacking(name, "pictures to train localisation on", can_train))
    return read(root)


def has_boxes(one: DataSet) -> bool:
    """Return whether `read_boxed` can read the data set."""
    return one.boxed is not None


def has_retrieval(one: DataSet) -> bool:
    """Return whether `read_retrieval` can read the data set."""
    return one.retrieval is not None or one.drawn is not None


def can_train(one: DataSet) -> bool:
    """Return whether `read_training` can read the data set."""
    return one.training is not None


def located(spec: str | Path, is_wanted: Callable[[DataSet], bool]) -> tuple[str, Path]:
    """Find the name and the folder of a data set.

    Args:
        spec: `"NAME:ROOT"`, or a folder alone, which is recognised by its files.
        is_wanted: Says which data sets a folder alone may be taken for.

    Returns:
        The name, empty where a folder alone is not recognised, and the folder.

    Raises:
        DataError: if no data set has this name, or the folder does not exist.
    """
    name, _, place = str(spec).rpartition(":")
    if name:
        data_set(name)  # a name that is misspelt is the first thing to say
    root = Path(place)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; expected the root of a data set")
    recognised = (known for known, one in _by_rank() if is_wanted(one) and one.is_at(root))
    return name or next(recognised, ""), root


def _by_rank() -> Iterator[tuple[str, DataSet]]:
    yield from sorted(DATA_SETS.items(), key=lambda entry: entry[1].rank)


def _lacking(name: str, what: str, is_able: Callable[[DataSet], bool]) -> str:
    able = ", ".join(known for known, one in _by_rank() if is_able(one))
    return f"data set {name!r} has no {what}; the data sets that have are {able}"
