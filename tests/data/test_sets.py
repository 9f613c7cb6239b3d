"""The table of data sets, and how one is found by name and folder."""

from pathlib import Path

import pytest
from tests.support.trees import boxes_csv, cars_csv, cub, lines, sop

from l2caf.data.sets import DATA_SETS, read_boxed, read_retrieval, read_training
from l2caf.errors import DataError


@pytest.mark.parametrize("spec", ["cups:", "", "cub:nowhere/"])
def test_what_is_no_data_set_with_boxes_is_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(DataError):
        read_boxed(f"{spec}{tmp_path}")


@pytest.mark.parametrize("spec", ["cups:", "", "sop:nowhere/", "cars:", "digits:", "sop:"])
def test_what_is_no_retrieval_set_is_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(DataError):
        read_retrieval(f"{spec}{tmp_path}")


def test_a_data_set_without_boxes_is_refused_with_those_that_have_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'sop' has no boxes; the data sets that have are cub, ilsvrc, wsol, csv"):
        read_boxed(f"sop:{sop(tmp_path)}")


def test_a_data_set_without_retrieval_classes_is_refused_with_those_that_have_them(tmp_path: Path) -> None:
    able = "cars, cub, digits, folder, sop"
    with pytest.raises(DataError, match=f"'csv' has no classes for retrieval; the data sets that have are {able}"):
        read_retrieval(f"csv:{boxes_csv(tmp_path)}")


def test_a_data_set_that_trains_no_localisation_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'cars' has no pictures to train localisation on; .* are cub, folder, ilsvrc"):
        read_training(f"cars:{cars_csv(tmp_path)}")


def test_a_misspelt_name_is_answered_before_the_folder_is_looked_for() -> None:
    with pytest.raises(DataError, match="unknown data set 'cubs'; did you mean 'cub'"):
        read_boxed("cubs:/nowhere")


def test_a_published_layout_goes_before_a_table_of_boxes_beside_it(tmp_path: Path) -> None:
    assert read_boxed(boxes_csv(tmp_path)).name == "csv"
    assert read_boxed(cub(tmp_path)).name == "cub"


def test_a_folder_of_no_layout_names_the_layouts_and_their_files(tmp_path: Path) -> None:
    lines(tmp_path / "notes.txt", "nothing")
    with pytest.raises(DataError, match=r"none of the known layouts \(cub: bounding_boxes.txt or .*; csv: boxes.csv\)"):
        read_boxed(tmp_path)


def test_every_data_set_says_where_it_comes_from_and_can_be_read_somehow() -> None:
    for one in DATA_SETS.values():
        assert one.source
        assert any((one.boxed, one.retrieval, one.training, one.drawn))
