"""Annotation files of published data sets: lists, numbers, look-ups; every failure names the file, and the line."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TextIO, TypeVar

from l2caf.errors import DataError, nearest

T = TypeVar("T")


def named_root(spec: str | Path, known: Collection[str]) -> tuple[str, Path]:
    """Layout and folder of a data set.

    Args:
        spec: such as `"cub:ROOT"`, or a folder alone.
        known: names of layouts.

    Returns:
        The layout, empty where none is named, and the folder.

    Raises:
        DataError: if there is no such layout or folder.
    """
    name, _, path = str(spec).rpartition(":")
    if name and name not in known:
        raise DataError(f"unknown data set {name!r}{nearest(name, known)}; expected one of {', '.join(known)}")
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; expected the root of a data set")
    return name, root


def columns(file: Path, count: int, *, separator: str | None = None) -> Iterator[list[str]]:
    """The lines of a list that are not blank.

    Args:
        file: UTF-8 text.
        count: columns of each line; the last keeps what separators are left.
        separator: None for any white space.

    Yields:
        The columns of a line, stripped.

    Raises:
        DataError: if the file cannot be read or a line has fewer columns.
    """
    with opened(file) as stream:
        for line_number, line in enumerate(stream, start=1):
            if line.strip():
                parts = [part.strip() for part in line.split(separator, count - 1)]
                if len(parts) != count:
                    raise DataError(
                        f"{file}, line {line_number}: {len(parts)} columns, expected {count}: {line.strip()[:60]}"
                    )
                yield parts


def opened(file: Path) -> TextIO:
    """A text file to read; DataError where it cannot be."""
    try:
        return file.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def number(text: str | None, where: Path | str) -> float:
    """A number in a file; DataError naming the place where it is none."""
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{where}: {text!r} is no number") from None


def lookup(mapping: Mapping[str, T], key: str, where: Path) -> T:
    """What a file says of a key; DataError naming both where it says nothing."""
    if key not in mapping:
        raise DataError(f"{where} says nothing of {key!r}")
    return mapping[key]
