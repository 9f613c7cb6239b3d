"""The paper's Table 1: localisation by standard networks without fine-tuning, Grad-CAM beside L2-CAF.

On ImageNet's validation set by the box rule of CAM's code, as in the paper; or on DigitScenes, which needs no download,
over three seeds.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from l2caf.data.sets import read_boxed
from l2caf.experiments.localisation import COLUMNS, PAPER_COLUMN, LocalisationRow, rows_of
from l2caf.experiments.tables import Comparison, Table, TableEntry, TablePlan

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
RULES: Final = ("cam-code", "cam-paper")
NETWORKS: Final = ("googlenet", "resnet50", "densenet161")


def _entries(data: str, plan: TablePlan) -> Iterator[TableEntry[LocalisationRow]]:
    for name in ("embedded/digits",) if data == "digits" else plan.networks or NETWORKS:
        rows = partial(rows_of, network=name, paper=partial(_paper, name))
        yield TableEntry(name.replace("/", "-"), name, Comparison(METHODS, RULES), rows)


def _paper(network: str, method: str, rule: str) -> tuple[float, ...] | None:
    return PAPER.get((network, method)) if rule == "cam-code" else None


TABLE1: Final = Table("table1", (), read_boxed, _entries, (*COLUMNS, PAPER_COLUMN), maps="")
