import os
from pathlib import Path

import numpy as np
import pytest

from l2caf.errors import StorageError
from l2caf.retrieval.cache import EmbeddingCache, mark_of


def written(folder: Path, name: str = "a.png") -> Path:
    file = folder / name
    file.write_bytes(b"picture")
    return file


def test_an_embedding_is_known_until_its_file_changes(tmp_path: Path) -> None:
    file, vector = written(tmp_path), np.arange(4, dtype=np.float32)
    with EmbeddingCache.opened(tmp_path / "cache", "key") as cache:
        assert cache.known([mark_of(file)]) == {}
        cache.add({mark_of(file): vector})
    with EmbeddingCache.opened(tmp_path / "cache", "key") as cache:
        assert np.array_equal(cache.known([mark_of(written(tmp_path, "b.png")), mark_of(file)])[1], vector)
        os.utime(file, ns=(0, 1))
        assert cache.known([mark_of(file)]) == {}
        file.write_bytes(b"another picture")
        assert cache.known([mark_of(file)]) == {}
        cache.add({mark_of(file): vector})
        times = file.stat()
        file.write_bytes(b"ANOTHER PICTURE")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as `cp -p` does
        assert cache.known([mark_of(file)]) == {}
        cache.add({mark_of(file): vector + 1})
        assert np.array_equal(cache.known([mark_of(file)])[0], vector + 1)
    with EmbeddingCache.opened(tmp_path / "cache", "other") as cache:
        assert cache.known([mark_of(file)]) == {}


def test_what_was_added_before_an_interruption_is_kept(tmp_path: Path) -> None:
    file = written(tmp_path)
    opened = EmbeddingCache.opened(tmp_path / "cache", "key")
    opened.__enter__().add({mark_of(file): np.ones(2, dtype=np.float32)})
    assert not opened.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with EmbeddingCache.opened(tmp_path / "cache", "key") as cache:
        assert list(cache.known([mark_of(file)])) == [0]


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "key.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=r"key\.sqlite cannot be used: .*delete it"):
        EmbeddingCache.opened(tmp_path, "key").__enter__()


def test_a_folder_that_cannot_be_made_is_the_caches_fault_and_other_trouble_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"key\.sqlite cannot be used: .*name another --cache"):
        EmbeddingCache.opened(tmp_path / "file", "key").__enter__()
    with pytest.raises(OSError, match=r"^too many open files$"), EmbeddingCache.opened(tmp_path / "cache", "key"):
        raise OSError("too many open files")
