"""What a run logs: lines of JSON, and a picture of them."""

import json
from pathlib import Path
from typing import Final

from l2caf import storage
from l2caf.extras import require

Line = dict[str, float | int]
LOG: Final = "log.jsonl"
PICTURE: Final = "curves.png"


def read_log(folder: Path, *, until: int) -> list[Line]:
    """Read the lines that a run logged up to a step.

    Args:
        folder: The folder of the run.
        until: The last step to keep. What a stopped run logged after its checkpoint is dropped, since it will be logged
            again.

    Returns:
        The lines; none if there is no log. A line that was cut off is left out.
    """
    path = folder / LOG
    if not path.is_file():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [line for line in map(json.loads, whole) if line["step"] <= until]


def write_log(folder: Path, lines: list[Line]) -> None:
    """Replace a log, whole or not at all."""
    with storage.whole_file(folder / LOG) as stream:
        stream.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def append(folder: Path, line: Line) -> None:
    """Add one line to a log."""
    with (folder / LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def draw(folder: Path, lines: list[Line]) -> None:
    """Draw the loss, the learning rate and the validation figures over steps into a picture beside the log.

    Args:
        folder: The folder of the run.
        lines: The log of the run.

    Raises:
        ExtraMissingError: if matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for line in lines for name in line if name not in {"step", "seconds", "epoch"}))
    figure = require("matplotlib.figure", extra="train").Figure(
        figsize=(4 * max(len(names), 1), 3), layout="constrained"
    )
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place, title=name.replace("_", " "), xlabel="step")
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "")
    with storage.whole_file(folder / PICTURE) as stream:
        figure.savefig(stream, format="png", dpi=100)
