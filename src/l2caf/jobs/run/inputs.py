"""What a run is to look at: pictures by number, from a folder, a list, Parquet files or WebDataset archives.

Every source is a list in a fixed order. Any number can be read by itself, in any process, so that shards can be made
in any order and anywhere. Names are held as one Arrow array: a million of them cost no million objects.
"""

import codecs
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
from PIL import Image

from l2caf import storage
from l2caf.data.pictures import SUFFIXES, read_picture
from l2caf.errors import DataError, RunError

HASHED_AT_ONCE: Final = 1 << 16


class PictureSource(ABC):
    """Pictures by number.

    Attributes:
        kind: the kind of the input, in one word, such as `folder`.
        place: the folder or file without which no picture can be read.
        given: the argument with which `open_source` opens the same source again.
        names: the names (n,) of the pictures in the results, as file-system bytes. A picture inside the input is named
            relative to it.
    """

    kind: str
    place: Path
    given: str
    names: pa.LargeBinaryArray

    def __len__(self) -> int:
        return len(self.names)

    def name(self, number: int) -> str:
        """The name of a picture; bytes that are no UTF-8 are written as escapes."""
        return self.names[number].as_py().decode("utf-8", "backslashreplace")

    @abstractmethod
    def picture(self, number: int) -> Image.Image:
        """A picture as upright RGB; raises `DataError` if it cannot be read."""

    def check(self) -> None:
        """Tell one bad picture from an input that is gone.

        Raises:
            RunError: if the place cannot be listed or read any more.
        """
        try:
            if self.place.is_dir():
                with os.scandir(self.place) as entries:
                    next(entries, None)
            else:
                self.place.open("rb").close()
        except OSError as error:
            raise RunError(
                f"the input {self.place} is gone: {error.strerror or error}; what is written stays valid: run the same "
                "command again when it is back"
            ) from error

    def digest(self) -> str:
        """A short name for the list of pictures, which depends on their names and order."""
        return storage.digest(self._parts())

    def _parts(self) -> Iterator[bytes]:
        for start in range(0, len(self), HASHED_AT_ONCE):
            yield b"".join(name + b"\0" for name in self.names.slice(start, HASHED_AT_ONCE).to_pylist())


class Files(PictureSource):
    """Picture files."""

    def __init__(self, kind: str, place: Path, base: Path, names: Sequence[bytes]) -> None:
        self.kind, self.place, self.base, self.given = kind, place, base, str(place)
        self.names = pa.array(names, pa.large_binary())

    def picture(self, number: int) -> Image.Image:
        """A picture as upright RGB; raises `DataError` if it cannot be read."""
        return read_picture(self.base / os.fsdecode(self.names[number].as_py()))


def open_folder(folder: Path) -> Files:
    """List every picture in a folder and below it, in the order of their names; hidden entries are skipped.

    Args:
        folder: the folder to search.

    Returns:
        The source.

    Raises:
        DataError: if the folder or one below it cannot be listed, or there is no picture.
    """
    folder = folder.resolve()
    names = sorted(_walk(folder))
    if not names:
        raise DataError(f"folder {folder} holds no pictures; expected files such as .jpg or .png")
    return Files("folder", folder, folder, names)


def _walk(folder: Path) -> Iterator[bytes]:
    def refuse(error: OSError) -> None:
        raise DataError(f"folder {error.filename} cannot be read: {error.strerror}") from error

    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(root, folder)
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES:
                yield os.fsencode(os.path.normpath(os.path.join(inside, file)))  # noqa: PTH118  (a million times)


def open_list(file: Path) -> Files:
    """List the pictures that a text file names, one a line, relative to the file's folder or absolute.

    Args:
        file: the text file, in UTF-8 or any bytes that the file system takes; empty lines are skipped.

    Returns:
        The source.

    Raises:
        DataError: if the file cannot be read, is no text, or names nothing.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"list {file} cannot be read: {error.strerror or error}") from error
    names = [line.strip() for line in content.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]
    if not names or b"\0" in content:
        raise DataError(f"{file} is no list of pictures; expected a text file with a path a line")
    base = file.resolve().parent
    return Files("list", _common_folder(base, names), base, names)


def _common_folder(base: Path, names: Sequence[bytes]) -> Path:
    folders = {os.path.dirname(os.path.join(os.fsencode(base), name)) for name in names}  # noqa: PTH118, PTH120
    return Path(os.fsdecode(os.path.commonpath(folders)))
