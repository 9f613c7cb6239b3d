"""Annotation files of published data sets: lists, numbers, look-ups. Every error names the file, and the line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO, TypeVar

from l2caf.errors import DataError

T = TypeVar("T")


def columns(file: Path, count: int, *, separator: str | None = None) -> Iterator[list[str]]:
    """Read the lines of a list that are not blank.

    Args:
        file: A text file in UTF-8.
        count: The number of columns in a line; the last column keeps further separators.
        separator: What stands between columns; None for any white space.

    Yields:
        The columns of a line, without white space around them.

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
    """Open a text file to read; DataError is raised if that fails."""
    try:
        return file.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def number(text: str | None, where: Path | str) -> float:
    """Read a number; if the text is no number, DataError is raised and names the place."""
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{where}: {text!r} is no number") from None


def lookup(mapping: Mapping[str, T], key: str, where: Path) -> T:
    """Return the value of a key; if there is none, DataError is raised and names the key and the file."""
    if key not in mapping:
        raise DataError(f"{where} says nothing of {key!r}")
    return mapping[key]
