import pytest

from l2caf.errors import DataError
from l2caf.registry import Registry


@pytest.fixture
def numbers() -> Registry[int]:
    table = Registry[int]("number", DataError)
    table.register("one")(1)
    return table


def test_a_registered_thing_is_found_under_its_name(numbers: Registry[int]) -> None:
    assert numbers["one"] == 1
    assert list(numbers) == ["one"]


def test_an_unknown_name_is_refused_with_the_nearest_known_one(numbers: Registry[int]) -> None:
    with pytest.raises(DataError, match=r"unknown number 'onee'; did you mean 'one'\?.*package\.module:name"):
        numbers["onee"]


def test_a_place_in_a_package_is_imported(numbers: Registry[int]) -> None:
    assert numbers["errno:ENOENT"] == 2


@pytest.mark.parametrize("place", ["no_such_package_at_all:x", "errno:NO_SUCH_NUMBER", ":x"])
def test_a_place_where_nothing_is_ends_in_the_tables_error(numbers: Registry[int], place: str) -> None:
    with pytest.raises(DataError, match="cannot be imported"):
        numbers[place]
