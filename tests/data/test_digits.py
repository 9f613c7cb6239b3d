"""DigitScenes as a data set."""

from pathlib import Path

import numpy as np
import pytest

from l2caf.data.digits import boxed_digits
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError


def test_digits_are_drawn_with_their_boxes_and_share_no_class() -> None:
    train, test = read_retrieval("digits:20", "train"), read_retrieval("digits:20")
    assert (train.classes, test.classes) == (tuple("01234"), tuple("56789"))
    one = test.pictures[3]
    assert (one.name, one.read().size, one.boxes.shape) == ("digits-test-3", (112, 112), (1, 4))
    assert test.classes[one.label] in "56789"
    assert np.array_equal(np.asarray(one.read()), np.asarray(read_retrieval("digits:20").pictures[3].read()))
    again = read_retrieval("digits:20", seed=1).pictures[3]
    assert not np.array_equal(np.asarray(one.read()), np.asarray(again.read()))


def test_the_box_of_a_written_scene_is_that_of_the_digit_in_front(tmp_path: Path) -> None:
    found = boxed_digits(tmp_path, length=6, seed=3, objects=2, digits=(4, 7))
    assert (found.name, len(found.pictures)) == ("csv", 6)
    for one in found.pictures:
        assert ("4", "7")[one.label] == one.file.stem[-1]  # the file is named after its digits from back to front
        x0, y0, x1, y1 = one.boxes[0]
        assert 0 <= x0 < x1 <= 112
        assert 0 <= y0 < y1 <= 112


def test_a_number_of_scenes_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="digits:many is not understood; expected the number of scenes"):
        read_retrieval("digits:many")
