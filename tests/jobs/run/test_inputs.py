"""Every kind of input gives the same pictures; what cannot be read says so before anything starts."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l2caf.errors import DataError, RunError
from l2caf.jobs.run import open_source


def good(scenes: Path) -> list[Path]:
    return [file for file in sorted(scenes.rglob("*.png")) if file.name != "20.png"][:24]


def as_list(files: list[Path], folder: Path) -> str:
    lines = [os.path.relpath(file, folder) if n % 2 else str(file) for n, file in enumerate(files)]
    (folder / "list.txt").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return str(folder / "list.txt")


def as_parquet(files: list[Path], folder: Path, kind: str) -> str:
    contents: dict[str, list[Any]] = {
        "bytes": [file.read_bytes() for file in files],
        "struct": [{"path": file.name, "bytes": file.read_bytes()} for file in files],
        "path": [os.path.relpath(file, folder / kind) for file in files],
    }
    (folder / kind).mkdir()
    name = "file_name" if kind == "path" else "image"
    for part in range(2):
        rows = pa.table({"label": [1] * 12, name: contents[kind][12 * part : 12 * part + 12]})
        pq.write_table(rows, folder / kind / f"{part}.parquet", row_group_size=5)
    return str(folder / kind)


def as_tars(files: list[Path], folder: Path) -> str:
    for part in range(2):
        with tarfile.open(folder / f"a-{part:03d}.tar", "w") as archive:
            for file in files[12 * part : 12 * part + 12]:
                archive.add(file, file.name)
                label = tarfile.TarInfo(f"{file.stem}.cls")
                label.size = 1
                archive.addfile(label, io.BytesIO(b"3"))
    return str(folder / "a-{000..001}.tar")


@pytest.mark.parametrize("kind", ["list", "bytes", "struct", "path", "tar"])
def test_every_kind_of_input_gives_the_same_pictures_in_the_same_order(kind: str, scenes: Path, tmp_path: Path) -> None:
    files = good(scenes)
    if kind == "list":
        given = as_list(files, tmp_path)
    else:
        given = as_tars(files, tmp_path) if kind == "tar" else as_parquet(files, tmp_path, kind)
    source = open_source(given)
    folder = open_source(str(scenes))
    assert len(source) == 24
    for number in (0, 7, 11, 12, 19, 23, 3):
        expected = folder.picture(number if number < 20 else number + 1)
        assert np.array_equal(np.asarray(source.picture(number)), np.asarray(expected))
    assert open_source(source.given).digest() == source.digest()
    assert len({source.name(number) for number in range(24)}) == 24


def test_archives_are_also_found_by_folder_and_pattern(scenes: Path, tmp_path: Path) -> None:
    digests = {open_source(as_tars(good(scenes), tmp_path)).digest()}
    digests |= {open_source(str(tmp_path)).digest(), open_source(str(tmp_path / "a-*.tar")).digest()}
    assert len(digests) == 1


def test_an_archive_that_goes_or_shrinks_is_no_bad_picture(scenes: Path, tmp_path: Path) -> None:
    source = open_source(as_tars(good(scenes), tmp_path))
    (tmp_path / "a-001.tar").write_bytes((tmp_path / "a-001.tar").read_bytes()[:9000])
    with pytest.raises(RunError, match="shorter than it was"):
        source.picture(20)
    (tmp_path / "a-000.tar").unlink()
    with pytest.raises(RunError, match="is gone"):
        source.picture(0)


@pytest.mark.parametrize("damage", ["header cut", "end cut", "header overwritten"])
def test_an_archive_that_ends_too_soon_is_not_taken_for_a_shorter_one(
    damage: str, scenes: Path, tmp_path: Path
) -> None:
    as_tars(good(scenes), tmp_path)
    file = tmp_path / "a-000.tar"
    with tarfile.open(file) as archive:
        place = archive.getmembers()[6].offset
    whole = file.read_bytes()
    end = place + {"header cut": 100, "end cut": 0}.get(damage, len(whole))
    file.write_bytes(whole[:place] + b"\xff" * 512 + whole[place + 512 :] if "over" in damage else whole[:end])
    with pytest.raises(DataError, match=f"is cut off or damaged at byte {place:,}"):
        open_source(str(file))


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_left_out(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def refused(path: Any) -> Any:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match="b cannot be read: Permission denied"):
        open_source(str(scenes))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "does not exist"),
        ("empty.txt", b"\n \n", "is no list of pictures"),
        ("binary.txt", b"\x00\x01", "is no list of pictures"),
        ("a.png", b"x", "is a picture"),
        ("a.tar", b"no archive at all", "cannot be read"),
        ("a.parquet", b"no table", "cannot be read as Parquet"),
        ("b-*.tar", None, "no file matches"),
        ("a.tar.gz", b"packed", "is compressed; expected a plain .tar"),
    ],
)
def test_what_is_no_input_says_why(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path / name))


def test_a_table_without_pictures_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1], "caption": ["a dog"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has columns label, caption; expected pictures in one of image"):
        open_source(str(tmp_path / "a.parquet"))


def test_tables_without_rows_or_of_two_kinds_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet holds no pictures"):
        open_source(str(tmp_path))
    pq.write_table(pa.table({"path": ["a.png", None]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet has its pictures in column path .* has them in column image"):
        open_source(str(tmp_path))
    with pytest.raises(DataError, match="row 1 names no picture"):
        open_source(str(tmp_path / "b.parquet")).picture(1)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png\r\nb.png\r\n", encoding="utf-8-sig")
    source = open_source(str(tmp_path / "list.txt"))
    assert [source.name(number) for number in range(len(source))] == ["a.png", "b.png"]


def test_names_that_are_no_text_survive(scenes: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff<b>.png"
    with open(odd, "wb") as stream:  # noqa: PTH123  (a path of bytes)
        stream.write(good(scenes)[0].read_bytes())
    source = open_source(str(tmp_path))
    assert source.name(0) == "\\xff<b>.png"
    assert source.picture(0).size == (64, 48)
