"""Small data sets in the public layouts, and the command line without a new process."""

from pathlib import Path

import numpy as np
from PIL import Image

from l2caf.cli import app


def inside(*arguments: object) -> object:
    """The exit code of a command."""
    return app(list(map(str, arguments)), standalone_mode=False)


def noise(file: Path, seed: int) -> None:
    """A picture of noise, 50 x 40."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(file)


def lines(file: Path, rows: list[str]) -> None:
    """A text file."""
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
