"""The paper's Table 2: localisation by networks fine-tuned for it, Grad-CAM beside L2-CAF.

On CUB or ImageNet by ADL's box rule, as in the paper, and by MaxBoxAcc, since a fifth of the maximum is no suitable
threshold for ACoL's min-max maps; or on DigitScenes with the small trunk, over three seeds. Networks whose weights are
not given are trained first.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from l2caf.data.sets import read_boxed
from l2caf.experiments.localisation import COLUMNS, PAPER_COLUMN, SWEPT, LocalisationRow, rows_of
from l2caf.experiments.tables import Comparison, Table, TableEntry, TablePlan
from l2caf.models import wsol
from l2caf.recipes.wsol import LocalisationRecipe
from l2caf.training import Options

# Top-1 of classification and localisation by data set, network and method. CAM is Grad-CAM where a linear layer follows
# the pooling; ACoL's localisation is quoted from its authors. L2-CAF is Eq. 2's (Section 4.1).
PAPER: Final = {
    ("cub", "vgg16-gap", "gradcam"): (68.53, 45.66),
    ("cub", "vgg16-gap", "l2caf-specific"): (68.53, 46.01),
    ("cub", "vgg16-acol", "acol"): (71.90, 45.90),
    ("cub", "vgg16-adl", "gradcam"): (64.16, 48.27),
    ("cub", "vgg16-adl", "l2caf-specific"): (64.16, 48.55),
    ("cub", "resnet50se-adl", "gradcam"): (78.94, 61.71),
    ("cub", "resnet50se-adl", "l2caf-specific"): (78.94, 61.16),
    ("ilsvrc", "vgg16-gap", "gradcam"): (69.96, 43.46),
    ("ilsvrc", "vgg16-gap", "l2caf-specific"): (69.96, 44.09),
    ("ilsvrc", "vgg16-acol", "acol"): (67.50, 45.83),
    ("ilsvrc", "vgg16-adl", "gradcam"): (69.58, 42.93),
    ("ilsvrc", "vgg16-adl", "l2caf-specific"): (69.58, 43.27),
    ("ilsvrc", "resnet50se-adl", "gradcam"): (76.218, 49.90),
    ("ilsvrc", "resnet50se-adl", "l2caf-specific"): (76.218, 50.49),
}
METHODS: Final = ("gradcam", "l2caf", "l2caf-specific", "l2caf-mean")
RULES: Final = ("adl",)
USUAL: Final = Options(steps=0)  # the recipe's 50 epochs
DIGIT_OPTIONS: Final = Options(steps=200, learning_rate=0.01)  # from the embedded weights, four epochs


def _entries(data: str, plan: TablePlan) -> Iterator[TableEntry[LocalisationRow]]:
    are_digits, name = data == "digits", data.partition(":")[0]
    for network in plan.networks or [one for one in wsol.names() if one.startswith("digits") == are_digits]:
        methods = (*METHODS, "acol") if network.endswith("acol") else METHODS
        model = f"wsol/{network}"
        yield TableEntry(
            network,
            model,
            Comparison(methods, RULES, metrics=("max-box-acc",)),
            partial(rows_of, network=model, paper=partial(_paper, name, network)),
            (LocalisationRecipe(data, network, batch_size=plan.batch_size), DIGIT_OPTIONS if are_digits else USUAL),
        )


def _paper(data: str, network: str, method: str, rule: str) -> tuple[float, ...] | None:
    return PAPER.get((data, network, method)) if rule == "adl" else None


TABLE2: Final = Table("table2", ("cub", "ilsvrc"), read_boxed, _entries, (*COLUMNS, SWEPT, PAPER_COLUMN))
