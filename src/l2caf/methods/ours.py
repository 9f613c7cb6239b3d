"""L2-CAF under each of its objectives and constraints, by name."""

from typing import Any

from torch import nn

from l2caf.attention import L2CAF, Cut
from l2caf.attention.output import OutputChoice
from l2caf.constraints import UnitL2
from l2caf.methods.registry import METHODS, Factory, Maps, Method, OfClass, OfOutput
from l2caf.objectives import ClassSpecific, Oblivious, Similar
from l2caf.shapes import Targets


def _oblivious(says: str, **options: Any) -> Factory:
    """A method of the whole output."""

    def factory(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
        caf = L2CAF(model, layer, output=output, **options)

        def explain(cut: Cut) -> Maps:
            return caf.on(cut).filter.abs()

        return OfOutput(explain)

    factory.__doc__ = says
    return factory


def _specific(says: str, **options: Any) -> Factory:
    """A method of one class."""

    def factory(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
        caf = L2CAF(model, layer, output=output, **options)

        def explain(cut: Cut, targets: Targets) -> Maps:
            return caf.on(cut, targets).filter.abs()

        return OfClass(explain)

    factory.__doc__ = says
    return factory


NONNEGATIVE = UnitL2(nonnegative=True)

for name, factory in {
    "l2caf": _oblivious("L2-CAF, class-oblivious (Eq. 1): one map, whatever the class."),
    "l2caf-direction": _oblivious("L2-CAF, class-oblivious, of the output divided by its norm.", objective=Similar()),
    "l2caf-top1": _oblivious("L2-CAF, class-oblivious, of the largest logit alone.", objective=Oblivious(top=1)),
    "l2caf-top5": _oblivious("L2-CAF, class-oblivious, of the five largest logits.", objective=Oblivious(top=5)),
    "l2caf-nonnegative": _oblivious("L2-CAF, class-oblivious, with weights of 0 or more.", constraint=NONNEGATIVE),
    "l2caf-l1": _oblivious("L2-CAF, class-oblivious, with a filter of unit L1 norm.", constraint="l1"),
    "l2caf-softmax": _oblivious("L2-CAF, class-oblivious, with a softmax filter.", constraint="softmax"),
    "l2caf-gaussian": _oblivious("L2-CAF, class-oblivious, with a Gaussian filter.", constraint="gaussian"),
    "l2caf-specific": _specific("L2-CAF, class-specific (Eq. 2): the other classes are summed."),
    "l2caf-mean": _specific("L2-CAF, class-specific: the other classes are averaged.", objective=ClassSpecific("mean")),
    "l2caf-mean-nonnegative": _specific(
        "L2-CAF, class-specific, others averaged, with weights of 0 or more: only what speaks for the class.",
        objective=ClassSpecific("mean"), constraint=NONNEGATIVE,
    ),
}.items():  # fmt: skip
    METHODS.register(name)(factory)
