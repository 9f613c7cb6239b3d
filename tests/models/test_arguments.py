import pytest

from l2caf.errors import ModelError
from l2caf.models.arguments import parse_arguments


def test_constructor_keywords_are_read_as_numbers_flags_or_text() -> None:
    pairs = ["pad_type=same", "num_classes=7", "drop_rate=0.5", "aux=False", "norm=none"]
    assert parse_arguments(pairs) == {
        "pad_type": "same", "num_classes": 7, "drop_rate": 0.5, "aux": False, "norm": None,
    }  # fmt: skip
    with pytest.raises(ModelError, match="NAME=VALUE"):
        parse_arguments(["pad_type"])
