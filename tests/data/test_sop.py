"""Stanford Online Products."""

from pathlib import Path

import pytest
from tests.support.trees import sop

from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError


def test_stanford_online_products_have_lists_of_their_own(tmp_path: Path) -> None:
    found = read_retrieval(sop(tmp_path))
    assert (found.name, found.classes) == ("sop", ("11319", "11320"))
    assert [(Path(p.name).name, p.label, p.boxes.tolist()) for p in found.pictures] == [
        ("2_0.JPG", 1, []),
        ("3_0.JPG", 0, []),
    ]
    assert read_retrieval(f"sop:{tmp_path}", "train").labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Ebay_test.txt", "1 1 1 a.JPG\n", "Ebay_test.txt, line 1: expected the header"),
        ("Ebay_test.txt", "image_id class_id super_class_id path\n1 x 1 a.JPG\n", "'x' is no number"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path: Path, file: str, content: str, message: str) -> None:
    (sop(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_retrieval(tmp_path)


def test_a_missing_list_names_itself(tmp_path: Path) -> None:
    (sop(tmp_path) / "Ebay_test.txt").unlink()
    with pytest.raises(DataError, match=r"Ebay_test\.txt"):
        read_retrieval(tmp_path)
