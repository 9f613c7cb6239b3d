"""Result folders and files that are whole or not there.

A result is written into a temporary sibling folder, synced to disk, and renamed at the end, so a folder under its
final name is complete. The manifest (JSON) is what marks a folder as ours: only such a folder is ever replaced.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from l2caf.errors import StorageError

MANIFEST: Final = "manifest.json"
PARTIAL: Final = ".partial"
JsonObject = dict[str, Any]  # what a manifest holds


@contextmanager
def new_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder that appears under its name only if the body succeeds.

    Args:
        path: the final name.
        overwrite: whether an earlier result there is replaced, which happens at success only.

    Yields:
        A temporary folder to write to; the body writes the manifest into it.

    Raises:
        StorageError: if something is there that may not be replaced, or the folder cannot be written.
    """
    _check_free(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o755)  # mkdtemp makes it private
        _move_into_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_free(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise StorageError(f"{path} is a file; expected the name of a new folder")
    if not any(path.iterdir()):
        return
    if not (path / MANIFEST).is_file():
        raise StorageError(f"{path} exists and is no result of l2caf, so it is never replaced; choose another folder")
    if not overwrite:
        raise StorageError(f"{path} already holds a result; choose another folder, or say --overwrite (overwrite=True)")


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _move_into_place(temporary: Path, path: Path) -> None:
    try:
        if not path.exists():
            temporary.rename(path)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
        path.rename(old / path.name)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def write_manifest(folder: Path, content: Mapping[str, object]) -> None:
    """Write the manifest, which must be the last of all files.

    Args:
        folder: the folder of the result.
        content: the content by name, of types that JSON knows.
    """
    (folder / MANIFEST).write_text(as_json(content), encoding="utf-8")


def as_json(content: Mapping[str, object]) -> str:
    """The text of a manifest with this content."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def read_manifest(folder: Path) -> JsonObject:
    """Read the manifest of a complete result.

    Args:
        folder: the folder of the result.

    Returns:
        The content of its manifest.

    Raises:
        StorageError: if there is no manifest or it is damaged.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(f"{folder} holds no complete result (no {MANIFEST})") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder / MANIFEST} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise StorageError(f"{folder / MANIFEST} holds no JSON object")
    return content


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to one file that appears under its name only when it is whole and on disk.

    Args:
        path: a .npz file.
        arrays: the arrays by name.

    Raises:
        StorageError: if it cannot be written.
    """
    with whole_file(path) as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


@contextmanager
def whole_file(path: Path, *, tag: str = "") -> Iterator[BinaryIO]:
    """A file that appears under its name, in the place of an earlier one, only when it is whole and on disk.

    Args:
        path: the final name, in a folder that exists.
        tag: a part of the temporary name that keeps apart processes which write the same file.

    Yields:
        A stream to write to.

    Raises:
        StorageError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}{tag}{PARTIAL}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_names(path.parent)
    except StorageError:  # of what the body reads
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_names(folder: Path) -> None:
    """Bring a folder's own list of names to disk, so that a rename outlives a power cut."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Args:
        path: a .npz file.
        names: which arrays to read, where the file has them; None for all.

    Returns:
        The arrays.

    Raises:
        StorageError: if it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if names is None or name in names}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def digest(parts: Iterable[bytes]) -> str:
    """A short name for content: the first 16 hexadecimal digits of its SHA-256."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()[:16]
