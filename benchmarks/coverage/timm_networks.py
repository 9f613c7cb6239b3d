"""The smallest member of each of timm's families."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import torch

from benchmarks.coverage.subject import Subject
from l2caf.torchvision_compat import import_torchvision

FAMILIES: Final = Path(__file__).parents[2] / "docs/results/coverage/timm-families.json"


def subjects() -> Iterator[Subject]:
    """A network for each of timm's families.

    Finding them builds every network that timm knows, for a quarter of an hour; the answer is kept beside the results.

    Yields:
        The networks.
    """
    import_torchvision()
    import timm  # noqa: PLC0415

    known = json.loads(FAMILIES.read_text(encoding="utf-8")) if FAMILIES.is_file() else {}
    if known.get("timm") != timm.__version__:
        known = {"timm": timm.__version__, "smallest": list(_smallest_of_families())}
        FAMILIES.parent.mkdir(parents=True, exist_ok=True)
        FAMILIES.write_text(json.dumps(known, indent=1), encoding="utf-8")
    for name in known["smallest"]:
        size = tuple(timm.get_pretrained_cfg(name, allow_unregistered=True).input_size)
        yield Subject(f"timm/{name}", partial(timm.create_model, name), size)


def _smallest_of_families() -> Iterator[str]:
    import timm  # noqa: PLC0415

    for family in timm.list_modules():
        members = timm.list_models(module=family)
        if members:
            yield min(members, key=_size)


def _size(name: str) -> int:
    import timm  # noqa: PLC0415

    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in timm.create_model(name).parameters())
    except (RuntimeError, NotImplementedError, ValueError, TypeError):  # needs values to be built
        return 10**9
