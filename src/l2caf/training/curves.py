"""What a run logs: lines of JSON, and a picture of them."""

import json
from pathlib import Path
from typing import Any

from l2caf import storage
from l2caf.extras import require

Line = dict[str, Any]
LOG, PICTURE = "log.jsonl", "curves.png"


def read_log(folder: Path, *, until: int) -> list[Line]:
    """Lines of a run up to a step.

    Args:
        folder: of the run.
        until: the last step to keep; what a stopped run logged after its checkpoint is logged anew.

    Returns:
        The lines; none where there is no log. A line that was cut off is left out.
    """
    path = folder / LOG
    if not path.is_file():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [line for line in map(json.loads, whole) if line["step"] <= until]


def write_log(folder: Path, lines: list[Line]) -> None:
    """Write a log anew, whole or not at all."""
    with storage.whole_file(folder / LOG) as stream:
        stream.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def append(folder: Path, line: Line) -> None:
    """Add one line to a log."""
    with (folder / LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def figure_class() -> Any:
    """Matplotlib's `Figure`.

    Returns:
        The class.

    Raises:
        ExtraMissingError: if matplotlib is not installed.
    """
    return require("matplotlib.figure", extra="train").Figure


def draw(folder: Path, lines: list[Line]) -> None:
    """Draw the loss, the learning rate and the validation figures over steps into a picture beside the log.

    Args:
        folder: of the run.
        lines: its log.
    """
    names = list(dict.fromkeys(name for line in lines for name in line if name not in {"step", "seconds", "epoch"}))
    figure = figure_class()(figsize=(4 * max(len(names), 1), 3), layout="constrained")
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place, title=name.replace("_", " "), xlabel="step")
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "")
    with storage.whole_file(folder / PICTURE) as stream:
        figure.savefig(stream, format="png", dpi=100)
