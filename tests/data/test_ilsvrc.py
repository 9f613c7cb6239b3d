"""ImageNet's validation pictures in Kaggle's tree and in torchvision's."""

from pathlib import Path

import pytest
from tests.support.trees import ilsvrc

from l2caf.data.sets import read_boxed
from l2caf.errors import DataError


@pytest.mark.parametrize("kaggle", [True, False])
def test_imagenet_classes_are_numbered_by_sorted_wordnet_id(tmp_path: Path, *, kaggle: bool) -> None:
    found = read_boxed(ilsvrc(tmp_path, kaggle=kaggle))
    assert found.name == "ilsvrc"
    assert found.classes == ("tench, Tinca tinca", "tabby cat")
    assert [(p.label, p.boxes.tolist()) for p in found.pictures] == [
        (1, [[1, 2, 30, 31], [5, 6, 7, 8]]),
        (0, [[3, 4, 50, 39]]),
    ]
    assert found.n_unboxed == 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", "<annotation><obj", "no readable XML"),
        ("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", "<!ENTITY x>", "refused"),
        ("LOC_synset_mapping.txt", "n02 cat\n", "says nothing of 'n01'"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path: Path, file: str, content: str, message: str) -> None:
    (ilsvrc(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_boxed(tmp_path)
