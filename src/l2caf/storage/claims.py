"""Whose folder it is: a run's manifest, the refusal of any other run, and the lock against two at once."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from l2caf.errors import RunError, StorageError
from l2caf.storage.files import MANIFEST, PARTIAL, JsonObject, as_json, read_manifest, whole_file

try:
    import fcntl
except ImportError:  # not on Windows: there only threads of one process are kept apart
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".lock"
_TAKEN: Final[set[Path]] = set()  # folders claimed by threads of this process, which a file lock does not tell apart
_GUARD: Final = threading.Lock()


@contextmanager
def claimed(
    folder: Path, manifest: Mapping[str, object], *, what: str, results: str = "", parts: Sequence[str] = ()
) -> Iterator[JsonObject]:
    """Make a folder this run's, or see that it is, and keep others out of it while the body runs.

    Args:
        folder: a folder that is new, empty, or left by a run with the same settings.
        manifest: what is written into a new folder. Its `format` says what kind of run it is.
        what: what the folder should hold, for messages, such as `evaluation`.
        results: a pattern of the files that depend on the settings, such as `maps/*.npz`. While there are none, a run
            with other settings may take the folder over; without a pattern it never may.
        parts: the entries of the manifest, mappings themselves, that determine the results. The other entries describe
            the run and may differ. By default every entry determines the results.

    Yields:
        The folder's manifest: this one, or that of the run which is taken up.

    Raises:
        StorageError: if the folder holds something else or a run with other settings, or cannot be written.
        RunError: if another process or thread is at work in the folder.
    """
    claim = _Claim(folder, json.loads(as_json(manifest)), what, results, parts)
    claim.is_to_begin(is_alone=True)  # before anything is written into a folder that is not ours
    with _only_here(folder) as is_alone:
        if claim.is_to_begin(is_alone=is_alone):  # again: another run may have begun and ended meanwhile
            with whole_file(folder / MANIFEST) as stream:
                stream.write(as_json(manifest).encode("utf-8"))
        yield read_manifest(folder)


@contextmanager
def _only_here(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock; False where the system has none, so that nothing keeps other processes out."""
    key = folder.resolve()
    with _GUARD:
        if key in _TAKEN:
            raise RunError(_busy(folder))
        _TAKEN.add(key)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / LOCK).open("wb")
        except OSError as error:
            raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
        with lock:
            yield _lock(lock, folder)
    finally:
        _TAKEN.discard(key)


def _lock(lock: BinaryIO, folder: Path) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone: its workers do not inherit it
    except (BlockingIOError, PermissionError) as error:  # which of the two depends on the system
        raise RunError(_busy(folder)) from error
    except OSError:  # some network file systems have no locks
        return False
    return True


def _busy(folder: Path) -> str:
    return f"another process is writing to {folder}; wait for it, or choose another folder"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What `claimed` was asked."""

    folder: Path
    manifest: JsonObject
    what: str
    results: str
    parts: Sequence[str]

    def is_to_begin(self, *, is_alone: bool) -> bool:
        """Whether the manifest is still to be written; raises `StorageError` if the folder cannot be this run's."""
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder} is a file; expected the name of a folder")
        has_results = bool(self.results) and any(folder.glob(self.results))
        if not (folder / MANIFEST).is_file():
            place = self.results.partition("/")[0]
            early = {LOCK, place, f".{MANIFEST}{PARTIAL}"}  # a run may be killed before its manifest is whole
            if folder.exists() and any(one.name not in early for one in folder.iterdir()):
                raise StorageError(f"{folder} exists and holds no {self.what}; choose another folder")
            if has_results:  # of who knows which settings
                raise StorageError(f"{folder} holds {place} but no {MANIFEST}; choose another folder")
            return True
        changed = self._changed(read_manifest(folder))
        if changed and (has_results or not self.results or not is_alone):
            raise StorageError(
                f"{folder} holds another run: {'; '.join(changed)}; choose another folder, or repeat its settings"
            )
        return bool(changed)

    def _changed(self, earlier: JsonObject) -> list[str]:
        kind = self.manifest["format"]
        if earlier.get("format") != kind:
            raise StorageError(
                f"{self.folder} holds {earlier.get('format')!r}, expected {kind!r}; choose another folder"
            )
        pairs = [(earlier.get(part, {}), self.manifest[part]) for part in self.parts] or [(earlier, self.manifest)]
        return [line for was, now in pairs for line in differences(was, now)]


def differences(earlier: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Say in words where two settings differ.

    Args:
        earlier: settings by name, which may be nested.
        now: the settings to compare with them.

    Returns:
        Lines, in the order of `now`.

    Example:
        >>> differences({"layer": "layer3", "card": {"size": 1}}, {"layer": "layer4", "card": {"size": 2}})
        ["layer was 'layer3', is 'layer4'", 'card.size was 1, is 2']
    """
    old, new = dict(_flat(earlier)), dict(_flat(now))
    names = [*new, *(name for name in old if name not in new)]
    return [
        f"{name} was {_said(old.get(name))}, is {_said(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _said(value: object) -> str:
    return "not given" if value is None else repr(value).strip("[]") or "nothing"
