"""The paper's Table 1: localisation by standard networks without fine-tuning, Grad-CAM beside L2-CAF.

On ImageNet's validation set by the box rule of CAM's code, as there; or on DigitScenes, which needs no download, over
three seeds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.data.sets import read_boxed
from l2caf.experiments.tables import Comparison, Row, as_markdown, evaluate, rows_of, write
from l2caf.models import load

# Top-1 and Top-5 of classification, then of localisation; the paper's ResNet is V2, torchvision's is V1.
PAPER: Final = {
    ("googlenet", "gradcam"): (71.17, 86.39, 44.43, 57.50),
    ("googlenet", "l2caf-specific"): (71.17, 86.39, 45.48, 59.32),
    ("resnet50", "gradcam"): (71.51, 86.56, 46.57, 59.96),
    ("resnet50", "l2caf-specific"): (71.51, 86.56, 48.18, 62.38),
    ("densenet161", "gradcam"): (78.20, 91.39, 49.28, 66.57),
    ("densenet161", "l2caf-specific"): (78.20, 91.39, 49.68, 65.28),
}
METHODS: Final = ("gradcam", "l2caf-specific", "l2caf-mean", "l2caf", "centre", "whole")
DIGIT_SCENES: Final = 300
SEEDS: Final = (0, 1, 2)


def table1(
    data: str,
    output: Path,
    *,
    networks: Sequence[str] = ("googlenet", "resnet50", "densenet161"),
    rules: Sequence[str] = ("cam-code", "cam-paper"),
    report: Callable[[str, int, int], None] = lambda what, done, total: None,  # noqa: ARG005
) -> list[Row]:
    """The table, and its files in a folder; a run that stopped is taken up.

    Args:
        data: `ilsvrc:ROOT`, or `digits`.
        output: a folder for maps and results.
        networks: torchvision names; without meaning for digits, which have the embedded network.
        rules: protocols; the paper's is `cam-code`.
        report: called with what is under way, pictures done and in all.

    Returns:
        A row per network, protocol and method.
    """
    rows: list[Row] = []
    sets = _sets(data, output)
    for name in ("embedded/digits",) if data == "digits" else networks:
        loaded = load(name)
        runs = []
        for label, boxed in sets:
            folder = output / f"{name.replace('/', '-')}{label}"
            runs.append(evaluate(boxed, loaded, folder, Comparison(METHODS, rules), partial(report, name)))
        rows += rows_of(name, runs, partial(_paper, name))
    write(rows, output, "table1", as_markdown(rows))
    return rows


def _sets(data: str, output: Path) -> list[tuple[str, BoxedSet]]:
    if data != "digits":
        return [("", read_boxed(data))]
    return [(f"-{seed}", boxed_digits(output / f"scenes-{seed}", length=DIGIT_SCENES, seed=seed)) for seed in SEEDS]


def _paper(network: str, method: str, rule: str) -> tuple[float, ...] | None:
    return PAPER.get((network, method)) if rule == "cam-code" else None
