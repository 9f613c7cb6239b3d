"""The paper's Table 2: localisation by networks fine-tuned for it, Grad-CAM beside L2-CAF.

On CUB or ImageNet by ADL's box rule, as there, and by MaxBoxAcc, since a fifth of the maximum is no level for ACoL's
min-max maps; or on DigitScenes with the small trunk, over three seeds. Networks whose weights are not given are trained
first.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.data.sets import read_boxed
from l2caf.experiments.tables import (
    Comparison,
    Plan,
    Row,
    as_markdown,
    evaluate,
    given_weights,
    rows_of,
    set_named,
    trained,
    write,
)
from l2caf.models import LoadedModel, load, wsol
from l2caf.recipes.wsol import Request, train_wsol
from l2caf.training import Options
from l2caf.training.options import usable

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
DIGIT_SCENES: Final = 300
SEEDS: Final = (0, 1, 2)
DIGIT_OPTIONS: Final = Options(steps=200, learning_rate=0.01)  # from the embedded weights, four epochs

Report = Callable[[str, int, int], None]


def table2(
    data: str,
    output: Path,
    plan: Plan | None = None,
    *,
    report: Report = lambda what, done, total: None,  # noqa: ARG005
) -> list[Row]:
    """The table, and its files in a folder; a run that stopped is taken up.

    Args:
        data: `cub:ROOT`, `ilsvrc:ROOT`, or `digits`.
        output: a folder for trained networks, maps and results.
        plan: what it is made of.
        report: called with what is under way, done and in all.

    Returns:
        A row per network and method.

    Raises:
        DataError: if the data are none of the three, or cannot be read.
        TrainingError: if the device cannot be used, or a network cannot be trained.
    """
    plan = plan or Plan()
    usable(plan.device)
    name = set_named(data, ("cub", "ilsvrc"))
    networks = plan.networks or tuple(one for one in wsol.names() if one.startswith("digits") == (name == "digits"))
    sets = list(_sets(data, output, plan.seeds))
    rows: list[Row] = []
    for network in networks:
        methods = (*METHODS, "acol") if network.endswith("acol") else METHODS
        comparison = Comparison(methods, RULES, sweep=True)
        runs = []
        for seed, boxed in sets:
            label = f"{network}-{seed}"
            request = Request(data, network, batch_size=plan.batch_size)
            usual = DIGIT_OPTIONS if name == "digits" else Options(steps=0)  # 50 epochs
            train = partial(train_wsol, request, plan.options(usual, seed))
            make = partial(trained, train, output / "training" / label, report)
            loaded = _loaded(network, plan.weights, make)
            loaded.model.to(plan.device)
            runs.append(evaluate(boxed, loaded, output / "maps" / label, comparison, partial(report, label)))
        rows += rows_of(f"wsol/{network}", runs, partial(_paper, name, network))
        write(rows, output, "table2", as_markdown(rows))
    return rows


def _sets(data: str, output: Path, seeds: tuple[int, ...]) -> Iterator[tuple[int, BoxedSet]]:
    """Seeds and what is judged for each."""
    if data != "digits":
        boxed = read_boxed(data)
        yield from ((seed, boxed) for seed in seeds or (0,))
        return
    for seed in seeds or SEEDS:
        yield seed, boxed_digits(output / f"scenes-{seed}", length=DIGIT_SCENES, seed=seed)


def _loaded(network: str, folder: Path | None, make: Callable[[], Path]) -> LoadedModel:
    """A network from the folder of weights, or trained."""
    return load(f"wsol/{network}", weights=given_weights(folder, network) or make())


def _paper(data: str, network: str, method: str, rule: str) -> tuple[float, ...] | None:
    return PAPER.get((data, network, method)) if rule == "adl" else None
