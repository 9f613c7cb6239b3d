"""Embeddings on disk, so that a gallery is embedded once.

There is one SQLite file for each network, weights and preprocessing. It has one row for each picture file, which is
valid as long as the file's path, size and times of change are the same. Rows are committed batch by batch: what was
embedded before an interruption is kept, and no reader ever sees half a row.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from l2caf.errors import StorageError

Vector = Float[np.ndarray, " d"]
FORMAT: Final = "l2caf.embeddings/2"  # part of every key, so that no file of another format is opened
TABLE: Final = "embeddings (path TEXT PRIMARY KEY, size INTEGER, written INTEGER, changed INTEGER, v BLOB)"
Mark = tuple[str, int, int, int]


def mark_of(file: Path) -> Mark:
    """Return what a file is recognised by.

    Args:
        file: A file that exists.

    Returns:
        The absolute path, the size in bytes, and when the file was written and changed, in nanoseconds. No program can
        set the time of change: it is new in a copy that keeps the first time (`cp -p`, `rsync -t`).
    """
    status = file.stat()
    return str(file.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns


class EmbeddingCache:
    """The embeddings of one network.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> picture = folder / "a.png"
        >>> _ = picture.write_bytes(b"...")
        >>> with EmbeddingCache.opened(folder / "cache", "resnet50-0123") as cache:
        ...     cache.add({mark_of(picture): np.ones(2, dtype=np.float32)})
        ...     cache.known([mark_of(picture)])
        {0: array([1., 1.], dtype=float32)}
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Use `opened`, which opens the file."""
        self._connection, self.path = connection, path

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, key: str) -> Iterator["EmbeddingCache"]:
        """Open the cache of a key; it is made if it does not exist.

        Args:
            folder: The folder of the caches; it is made if it does not exist.
            key: A name for network, weights and preprocessing together.

        Yields:
            The cache, open for as long as the body runs.

        Raises:
            StorageError: if the file cannot be written, or is no cache.
        """
        path = folder / f"{key}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # caught here, since an OSError of the body below has nothing to do with the cache
            raise StorageError(_unusable(path, error)) from error
        try:
            with closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE}")
                yield cls(connection, path)
        except sqlite3.Error as error:
            raise StorageError(_unusable(path, error)) from error

    def known(self, marks: Sequence[Mark]) -> dict[int, Vector]:
        """Look up the embeddings of files that have not changed.

        Args:
            marks: The marks of the files, as `mark_of` returns them.

        Returns:
            The embeddings that are known, by the file's index in `marks`.
        """
        found = {}
        for place, mark in enumerate(marks):
            row = self._connection.execute(
                "SELECT v FROM embeddings WHERE path = ? AND size = ? AND written = ? AND changed = ?", mark
            ).fetchone()
            if row is not None:
                found[place] = np.frombuffer(row[0], dtype=np.float32).copy()
        return found

    def add(self, embeddings: Mapping[Mark, Vector]) -> None:
        """Write embeddings; they replace those of the same paths, and are on disk when this returns.

        Args:
            embeddings: The float32 embeddings by the marks of their files.
        """
        rows = [(*mark, vector.astype(np.float32).tobytes()) for mark, vector in embeddings.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)", rows)


def _unusable(path: Path, error: Exception) -> str:
    return f"the cache {path} cannot be used: {error}; delete it, or name another --cache"
