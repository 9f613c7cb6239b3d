"""A data set of one's own: defined here, outside the package, and read by its API and by the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.trees import lines, picture
from typer.testing import CliRunner

from l2caf.cli import app
from l2caf.data.boxed import BoxedPicture, BoxedSet, Split, boxed_set
from l2caf.data.retrieval_sets import ClassedPictures
from l2caf.data.sets import DATA_SETS, DataSet, read_boxed, read_retrieval
from l2caf.errors import DataError


def squares(root: Path, split: Split) -> BoxedSet:
    """Pictures named CLASS-X-Y-SIDE.png: the name of the file is its annotation."""
    entries = []
    for file in sorted((root / split).glob("*.png")):
        label, x, y, side = map(int, file.stem.split("-"))
        entries.append((file, label, [(x, y, x + side, y + side)]))
    return boxed_set("squares", ("small", "large"), entries)


def sizes(root: Path, split: Split) -> ClassedPictures:
    found = squares(root, split)
    return found.classes, list(found.pictures)


SQUARES = DataSet(source="the tests of l2caf", marks=("*/*-*-*-*.png",), boxed=squares, retrieval=sizes)
NOT_A_DATA_SET = squares


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("test/0-1-2-10", "test/1-0-0-30", "train/1-5-5-20"):
        picture(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def _registered() -> Iterator[None]:
    DATA_SETS.register("squares")(SQUARES)
    yield
    del DATA_SETS._things["squares"]


def summary(pictures: tuple[BoxedPicture, ...]) -> list[tuple[str, int, list[list[float]]]]:
    return [(one.file.stem, one.label, one.boxes.tolist()) for one in pictures]


def test_it_is_read_by_the_place_of_its_definition(root: Path) -> None:
    found = read_boxed(f"{__name__}:SQUARES:{root}")
    assert summary(found.pictures) == [("0-1-2-10", 0, [[1, 2, 11, 12]]), ("1-0-0-30", 1, [[0, 0, 30, 30]])]
    assert [one.label for one in read_boxed(f"{__name__}:SQUARES:{root}", "train").pictures] == [1]
    assert read_retrieval(f"{__name__}:SQUARES:{root}").labels.tolist() == [0, 1]


@pytest.mark.usefixtures("_registered")
def test_once_registered_it_has_a_name_and_its_folder_is_recognised(root: Path) -> None:
    assert summary(read_boxed(f"squares:{root}").pictures) == summary(read_boxed(root).pictures)
    assert read_boxed(root).name == "squares"
    with pytest.raises(DataError, match="the data sets that have are cub, ilsvrc, wsol, squares, csv"):
        read_boxed(f"sop:{root}")


def test_the_command_line_checks_it(root: Path) -> None:
    result = CliRunner().invoke(app, ["data", "check", f"{__name__}:SQUARES:{root}"])
    assert (result.exit_code, result.stdout) == (0, "squares: 2 pictures of 2 classes, 2 boxes\n")
    lines(root / "test" / "1-0-0-30.png", "no picture")
    result = CliRunner().invoke(app, ["data", "check", f"{__name__}:SQUARES:{root}"])
    assert result.exit_code == 1
    assert "where to get squares: the tests of l2caf" in result.output


@pytest.mark.usefixtures("_registered")
def test_the_command_line_judges_maps_on_it(root: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["evaluate", "--data", f"squares:{root}", "-m", "embedded/digits", "--methods", "centre", "--workers", "0",
         "-o", str(tmp_path / "out")],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "| centre | cam-paper |" in result.stdout


def test_what_is_no_data_set_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"NOT_A_DATA_SET is a function; expected an l2caf\.data\.sets\.DataSet"):
        read_boxed(f"{__name__}:NOT_A_DATA_SET:{root}")
