"""The picture loop: every picture or why not, in order, however it is read."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from l2caf.data.feeding import Batch, PictureFiles, fed, in_turn
from l2caf.data.pictures import prepare
from l2caf.errors import RunError

FEEDING = {"size": (8, 8), "mean": (0.5,), "std": (0.25,), "fit": "pad"}


@pytest.fixture
def files(tmp_path: Path) -> PictureFiles:
    """Seven pictures of several sizes; the third is no picture and the sixth is not there."""
    found = [tmp_path / f"{number}.png" for number in range(7)]
    for number, file in enumerate(found):
        Image.new("RGB", (20 + number, 10), (30 * number, 90, 200)).save(file)
    found[2].write_bytes(b"no picture")
    found[5].unlink()
    return PictureFiles(found)


def batches_of(files: PictureFiles, *, workers: int, size: int) -> list[Batch]:
    with fed(files, FEEDING, in_turn(range(len(files)), size), workers=workers) as batches:
        return list(batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_picture_comes_once_in_order_as_inputs_or_as_a_reason(files: PictureFiles, workers: int) -> None:
    batches = batches_of(files, workers=workers, size=3)
    assert [list(batch.asked) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [list(batch.numbers) for batch in batches] == [[0, 1], [3, 4], [6]]
    failures = [one for batch in batches for one in batch.failures]
    assert [(one.number, one.path) for one in failures] == [(2, str(files.files[2])), (5, str(files.files[5]))]
    assert "cannot be read as a picture" in failures[0].reason
    assert "is missing" in failures[1].reason
    for batch in batches:
        for place, number in enumerate(batch.numbers):
            expected, region = prepare(files.picture(number), **FEEDING)
            assert torch.equal(batch.inputs[place], expected)
            assert (batch.sizes[place], batch.regions[place]) == ((20 + number, 10), region)
            assert batch.paths[place] == str(files.files[number])


def test_a_batch_without_any_picture_says_so(files: PictureFiles) -> None:
    third = batches_of(files, workers=0, size=1)[2]
    assert len(third.inputs) == 0
    assert not third.numbers
    assert [one.number for one in third.failures] == [2]


def test_pictures_are_kept_where_they_are_asked_for_and_a_part_is_a_batch(files: PictureFiles) -> None:
    with fed(files, FEEDING, [[1, 2, 3, 4]], keep_pictures=True) as batches:
        (batch,) = batches
    assert [picture.width for picture in batch.pictures] == [21, 23, 24]
    part = batch.part(1)
    assert (list(part.numbers), part.failures, part.pictures[0].width) == ([3], (), 23)
    assert torch.equal(part.inputs, batch.inputs[1:2])


def test_reading_draws_no_random_number_of_the_callers(files: PictureFiles) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    batches_of(files, workers=0, size=3)
    assert torch.equal(torch.rand(1), expected)


@dataclass(frozen=True, slots=True)
class GonePictures(PictureFiles):
    """Pictures whose place is gone, for as far as one may tell by a missing one."""

    def check(self) -> None:
        raise RunError("the input is gone")


def test_an_input_that_is_gone_is_no_list_of_missing_pictures(files: PictureFiles) -> None:
    gone = GonePictures(files.files)
    with fed(gone, FEEDING, in_turn(range(7), 2)) as batches:
        assert list(next(batches).numbers) == [0, 1]
        with pytest.raises(RunError, match=r"^the input is gone$"):
            next(batches)


def test_numbers_in_turn_are_those_given(files: PictureFiles) -> None:
    assert in_turn([4, 1, 9, 2, 7], 2) == [[4, 1], [9, 2], [7]]
    assert in_turn(range(5), 9) == [range(5)]
    assert not in_turn([], 3)
    assert replace(files, files=files.files[:2]).name(1) == str(files.files[1])
