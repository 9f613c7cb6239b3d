"""Pictures inside other files: WebDataset archives and Parquet.

An archive is read once from end to end for the places of its pictures, later only where they are. Of Parquet the row
group last used is kept, which pictures read in order share.
"""

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from l2caf.data.pictures import SUFFIXES, decode_picture, read_picture
from l2caf.errors import DataError, RunError
from l2caf.jobs.run.inputs import PictureSource, open_folder, open_list

CONTENT: Final = ("image", "jpg", "png", "picture", "bytes", "content")  # columns with the bytes of picture files
PATHS: Final = ("path", "file", "file_name", "filename", "image", "image_path")
COMPRESSED: Final = re.compile(r"\.(tgz|tar\.\w+)$")
BRACES: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Archives(PictureSource):
    """Pictures in uncompressed tar files."""

    kind = "webdataset"

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = [file.resolve() for file in files]
        self.place, self.given = self.files[0].parent, str(self.files[0].parent)
        places: list[tuple[int, int, int]] = []
        names: list[bytes] = []
        for number, file in enumerate(self.files):
            for member in _members(file):
                places.append((number, member.offset_data, member.size))
                names.append(f"{file.name}:{member.name}".encode("utf-8", "surrogateescape"))
        if not names:
            raise DataError(f"{files[0]} holds no pictures; expected members such as 000001.jpg")
        self.names = pa.array(names, pa.large_binary())
        self.places = np.array(places, dtype=np.int64)

    def picture(self, number: int) -> Image.Image:
        """A picture as upright RGB; raises `DataError` if it cannot be read, `RunError` if its archive is gone."""
        archive, offset, size = (int(value) for value in self.places[number])
        try:
            with self.files[archive].open("rb") as stream:
                stream.seek(offset)
                content = stream.read(size)
        except OSError as error:
            raise RunError(f"archive {self.files[archive]} is gone: {error.strerror or error}") from error
        if len(content) != size:
            raise RunError(f"archive {self.files[archive]} is shorter than it was when it was listed")
        return decode_picture(content, self.name(number))


def _members(file: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    yield member
            _check_end(archive, file)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"archive {file} cannot be read: {error}; expected an uncompressed tar file") from error


def _check_end(archive: tarfile.TarFile, file: Path) -> None:
    """Tell the end of an archive from a cut or damaged header, at which Python's reader stops as quietly."""
    with file.open("rb") as stream:
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"archive {file} is cut off or damaged at byte {archive.offset:,}; fetch it again")


@dataclass(frozen=True, slots=True)
class _Column:
    """Where the pictures of a Parquet file are: `paths` or bytes, and those perhaps in a struct with a path."""

    name: str
    is_path: bool
    is_struct: bool = False

    def __str__(self) -> str:
        return f"column {self.name} ({'paths' if self.is_path else 'structs' if self.is_struct else 'bytes'})"


class ParquetRows(PictureSource):
    """Pictures named or held by the rows of Parquet files."""

    kind = "parquet"

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = [file.resolve() for file in files]
        self.place, self.given = self.files[0].parent, str(self.files[0].parent)
        self.groups: list[tuple[int, int]] = []
        ends: list[int] = []
        names: list[bytes] = []
        for number, file in enumerate(self.files):
            opened = _open_parquet(file)
            column = _find_column(opened.schema_arrow, file)
            if number == 0:
                self.column = column
            elif column != self.column:
                raise DataError(f"{file} has its pictures in {column}; {files[0]} has them in {self.column}")
            names += _names(opened, self.column, file.name)
            self.groups += [(number, group) for group in range(opened.num_row_groups)]
            ends += [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
        if not names:
            raise DataError(f"{files[0]} holds no pictures; expected rows")
        self.names = pa.array(names, pa.large_binary())
        self.ends = np.cumsum(ends, dtype=np.int64)
        self._kept: tuple[int, list[bytes | None]] | None = None

    def picture(self, number: int) -> Image.Image:
        """A picture as upright RGB; raises `DataError` if it cannot be read, `RunError` if its file is gone."""
        if self.column.is_path:
            if not self.names[number].as_py():
                raise DataError(f"row {number} names no picture")
            return read_picture(self.place / self.name(number))
        group = int(np.searchsorted(self.ends, number, side="right"))
        first = int(self.ends[group - 1]) if group else 0
        content = self._contents(group)[number - first]
        if content is None:
            raise DataError(f"{self.name(number)} is empty")
        return decode_picture(content, self.name(number))

    def _contents(self, group: int) -> list[bytes | None]:
        if self._kept is None or self._kept[0] != group:
            file, number = self.groups[group]
            leaf = f"{self.column.name}.bytes" if self.column.is_struct else self.column.name
            try:
                table = pq.ParquetFile(self.files[file]).read_row_group(number, columns=[leaf], use_threads=False)
            except (OSError, pa.ArrowException) as error:
                raise RunError(f"{self.files[file]} is gone or damaged: {error}") from error
            column = table.column(0).combine_chunks()
            self._kept = group, (column.field(0) if self.column.is_struct else column).to_pylist()
        return self._kept[1]


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from error


def _find_column(schema: pa.Schema, file: Path) -> _Column:
    for name in (name for name in CONTENT if name in schema.names):
        kind = schema.field(name).type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return _Column(name, is_path=False)
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return _Column(name, is_path=False, is_struct=True)
    for name in (name for name in PATHS if name in schema.names):
        if pa.types.is_string(schema.field(name).type) or pa.types.is_large_string(schema.field(name).type):
            return _Column(name, is_path=True)
    raise DataError(
        f"{file} has columns {', '.join(schema.names)}; expected pictures in one of {', '.join(CONTENT)}, or their "
        f"paths in one of {', '.join(PATHS)}"
    )


def _names(opened: pq.ParquetFile, column: _Column, file: str) -> list[bytes]:
    """Paths; else the number of the row in its file."""
    if not column.is_path:
        return [f"{file}#{row}".encode() for row in range(opened.metadata.num_rows)]
    values = opened.read(columns=[column.name], use_threads=False).column(0)
    return [(value or "").encode("utf-8") for value in values.to_pylist()]


def open_source(given: str) -> PictureSource:
    """Open the pictures that `--input` names.

    Args:
        given: a folder of pictures, of .tar or of .parquet files; a text file with a path a line; a .tar or .parquet
            file; a pattern of them, such as `train-{000..146}.tar` or `train-*.tar`.

    Returns:
        The source.

    Raises:
        DataError: if it does not exist, cannot be read, or holds no picture.
    """
    source = _open(given)
    source.given = str(Path(given).resolve())
    return source


def _open(given: str) -> PictureSource:
    path = Path(given)
    if path.is_dir():
        return _open_any_folder(path)
    if path.suffix in {".tar", ".parquet"}:
        files = _expanded(given)
        return Archives(files) if path.suffix == ".tar" else ParquetRows(files)
    if not path.is_file():
        raise DataError(f"input {given} does not exist; expected a folder, a list, Parquet files or tar files")
    if COMPRESSED.search(path.name):
        raise DataError(f"archive {given} is compressed; expected a plain .tar: pictures are read by their place")
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"input {given} is a picture; expected many (for a few there is `l2caf explain`)")
    return open_list(path)


def _open_any_folder(folder: Path) -> PictureSource:
    for suffix, opened in ((".tar", Archives), (".parquet", ParquetRows)):
        try:
            files = sorted(file for file in folder.iterdir() if file.suffix == suffix)
        except OSError as error:
            raise DataError(f"folder {folder} cannot be read: {error.strerror or error}") from error
        if files:
            return opened(files)
    return open_folder(folder)


def _expanded(given: str) -> list[Path]:
    """The files that a name, a pattern or a range in braces stands for."""
    ranges = [
        [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        for first, last in BRACES.findall(given)
    ]
    parts = BRACES.split(given)[::3]
    named = ["".join(a + b for a, b in zip(parts, [*chosen, ""], strict=True)) for chosen in product(*ranges)]
    files = [file for name in named for file in _globbed(Path(name))]
    if not files:
        raise DataError(f"no file matches {given}")
    return files


def _globbed(path: Path) -> list[Path]:
    if "*" in path.name or "?" in path.name:
        return sorted(path.parent.glob(path.name))
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    return [path]
