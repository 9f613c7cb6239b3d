from pathlib import Path

import pytest

from l2caf import storage
from l2caf.errors import StorageError


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    with storage.new_folder(path, overwrite=overwrite) as folder:
        (folder / "data.txt").write_text(text, encoding="utf-8")
        storage.write_manifest(folder, {"text": text})


def test_a_folder_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    write(tmp_path / "a" / "result", "one")
    assert storage.read_manifest(tmp_path / "a" / "result") == {"text": "one"}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["result"]


def test_an_error_in_the_middle_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "result", "one")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "result", "half \udcff", overwrite=True)
    assert (tmp_path / "result" / "data.txt").read_text(encoding="utf-8") == "one"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_result_is_only_replaced_when_asked_and_a_stranger_never(tmp_path: Path) -> None:
    write(tmp_path / "result", "one")
    with pytest.raises(StorageError, match="already holds a result"):
        write(tmp_path / "result", "two")
    write(tmp_path / "result", "two", overwrite=True)
    assert storage.read_manifest(tmp_path / "result") == {"text": "two"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").write_bytes(b"dear")
    with pytest.raises(StorageError, match="never replaced"):
        write(tmp_path / "photos", "three", overwrite=True)
    assert (tmp_path / "photos" / "dog.jpg").read_bytes() == b"dear"


def test_a_file_in_the_way_is_refused_and_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StorageError, match="is a file"):
        write(tmp_path / "file", "one", overwrite=True)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "one")
    with pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "file" / "below", "one")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_manifest_is_a_storage_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(StorageError):
        storage.read_manifest(tmp_path)
