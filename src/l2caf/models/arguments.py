"""Constructor keywords as a user writes them on the command line: NAME=VALUE."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from l2caf.errors import ModelError

Value = bool | int | float | str | None
CONSTANTS: Final[dict[str, Value]] = {"true": True, "false": False, "none": None}


def parse_arguments(pairs: Sequence[str]) -> dict[str, Value]:
    """Read constructor keywords from text.

    Args:
        pairs: the keywords, such as `pad_type=same` and `num_classes=1001`.

    Returns:
        The values by name: true, false, none, integers and floats as what they say, everything else as text.

    Raises:
        ModelError: if a pair has no `=`, or no name before it.
    """
    parsed = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name.isidentifier():
            raise ModelError(f"argument {pair!r} is not understood; expected NAME=VALUE")
        parsed[name] = _value(text)
    return parsed


def _value(text: str) -> Value:
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
