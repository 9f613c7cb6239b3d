"""Whose folder it is: a run's manifest, the refusal of any other run, and the lock against two at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from l2caf import storage
from l2caf.errors import RunError, StorageError
from l2caf.jobs.run.shards import FOLDER, finished, sweep

try:
    import fcntl
except ImportError:  # not on Windows: there nothing guards against two runs at once
    fcntl = None  # type: ignore[assignment]

FORMAT: Final = "l2caf.run/1"
LOCK: Final = ".lock"
BEFORE_MANIFEST: Final = {LOCK, FOLDER, f".{storage.MANIFEST}{storage.PARTIAL}"}  # a run may be killed as early as that
DETERMINING: Final = ("settings", "inputs")  # the rest of a manifest describes, and may differ


@contextmanager
def claimed(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Make a folder this run's, or see that it is, for as long as the body runs.

    Args:
        folder: new, empty, or left by a run with the same settings.
        manifest: what determines the run.

    Yields:
        The folder's manifest: this one, or that of the run which is taken up.

    Raises:
        StorageError: if it holds something else, or cannot be written.
        RunError: if another process is at work in it.
    """
    _check(folder, manifest)
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("wb")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    with lock:
        _lock(lock, folder)
        _check(folder, manifest)  # again: another run may have begun and ended meanwhile
        sweep(folder)
        if not (folder / storage.MANIFEST).is_file():
            with storage.whole_file(folder / storage.MANIFEST) as stream:
                stream.write(storage.as_json(manifest).encode("utf-8"))
        yield storage.read_manifest(folder)


def _lock(lock: BinaryIO, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone: its workers do not inherit it
    except OSError as error:
        raise RunError(f"another process is writing to {folder}; wait for it, or choose another folder") from error


def _check(folder: Path, manifest: Mapping[str, Any]) -> None:
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file; expected the name of a folder")
    if not (folder / storage.MANIFEST).is_file():
        if folder.exists() and any(one.name not in BEFORE_MANIFEST for one in folder.iterdir()):
            raise StorageError(f"{folder} exists and holds no run of l2caf; choose another folder")
        if finished(folder):  # of who knows which settings
            raise StorageError(f"{folder} holds shards but no {storage.MANIFEST}; choose another folder")
        return
    earlier = storage.read_manifest(folder)
    if earlier.get("format") != FORMAT:
        raise StorageError(f"{folder} holds {earlier.get('format')!r}; expected {FORMAT!r}; choose another folder")
    lines = [line for part in DETERMINING for line in differences(earlier.get(part, {}), manifest[part])]
    if lines:
        raise StorageError(
            f"{folder} holds another run ({'; '.join(lines)}); choose another folder, or repeat that run's settings"
        )


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two settings differ.

    Args:
        earlier: settings, nested by name.
        now: likewise.
        prefix: of names, in nested settings.

    Returns:
        Lines such as `batch_size: 16 there, 32 here`.

    Example:
        >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
        ['b.c: 2 there, 3 here']
    """
    lines: list[str] = []
    for name in [*now, *(name for name in earlier if name not in now)]:
        was, here = earlier.get(name), now.get(name)
        if isinstance(was, Mapping) and isinstance(here, Mapping):
            lines += differences(was, here, f"{prefix}{name}.")
        elif was != here:
            lines.append(f"{prefix}{name}: {was} there, {here} here")
    return lines
