"""Embeddings on disk, so that a gallery is embedded once.

One SQLite file for each network, weights and preprocessing; in it one row for each picture file, valid as long as the
file's path, size and times of change are what they were. Rows are committed batch by batch: what was embedded before an
interruption is kept, and no reader ever sees half a row.
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
    """What a file is recognised by: absolute path, size in bytes, when it was written and changed, in nanoseconds.

    The second time cannot be set: a copy that keeps the first (`cp -p`, `rsync -t`) moves it.

    Args:
        file: a file that exists.

    Returns:
        The four.
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
        """Around an open file; see `opened`."""
        self._connection, self.path = connection, path

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, key: str) -> Iterator["EmbeddingCache"]:
        """The cache of a key, made if it is not there.

        Args:
            folder: where caches lie; made if it is not there.
            key: names network, weights and preprocessing.

        Yields:
            The cache, open for as long as the body runs.

        Raises:
            StorageError: if the file cannot be written, or is no cache.
        """
        path = folder / f"{key}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # of the body it would not be the cache's
            raise StorageError(_unusable(path, error)) from error
        try:
            with closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE}")
                yield cls(connection, path)
        except sqlite3.Error as error:
            raise StorageError(_unusable(path, error)) from error

    def known(self, marks: Sequence[Mark]) -> dict[int, Vector]:
        """Embeddings of the files that have not changed.

        Args:
            marks: of files.

        Returns:
            Embeddings by place in `marks`.
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
        """Keep embeddings, in the place of what was kept for these paths; on disk when this returns.

        Args:
            embeddings: float32 by mark.
        """
        rows = [(*mark, vector.astype(np.float32).tobytes()) for mark, vector in embeddings.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)", rows)


def _unusable(path: Path, error: Exception) -> str:
    return f"the cache {path} cannot be used: {error}; delete it, or name another --cache"
