"""What determines the results of a run, apart from its pictures and its network."""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Final, Literal, get_args

import torch
from torch import nn

import l2caf
from l2caf.attention import L2CAF
from l2caf.errors import RunError, nearest
from l2caf.methods.registry import Method, methods
from l2caf.models import LoadedModel
from l2caf.objectives import ClassSpecific, Others
from l2caf.solvers import SOLVERS
from l2caf.storage import JsonObject

What = Literal["filter", "box", "heatmap", "overlay"]

LIBRARIES: Final = ("torch", "numpy", "pillow", "pyarrow")
IN_FLIGHT: Final = 2**28  # bytes of filtered maps: fixed, so that no device's default decides how rows are grouped


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is asked of every picture.

    Attributes:
        targets: the classes to explain, `"top1"`, `"top5"`, ...; None for the class-oblivious map.
        what: the products that are kept beside losses and certificates.
        layer: the layer to look at; None for the last one that reaches the output.
        constraint: the name of the constraint.
        others: whether Eq. 2's other classes are summed or averaged.
        solver: the name of the solver.
        compare: the name of a second method, whose maps' agreement with ours is a column of the results; None for no
            such column.
        threshold: the threshold of the boxes, as a share of the map's maximum, in [0, 1).
        batch_size: the number of pictures per pass.
        shard_size: the number of pictures per file, which is what a run that is killed loses at most.
    """

    targets: str | None = None
    what: tuple[What, ...] = ("filter", "box")
    layer: str | None = None
    constraint: str = "l2"
    others: Others = "sum"
    solver: str = "auto"
    compare: str | None = None
    threshold: float = 0.2
    batch_size: int = 32
    shard_size: int = 1024

    def explainer(self, model: nn.Module) -> L2CAF:
        """The explainer of a network that finds the maps."""
        return L2CAF(
            model, self.layer,
            constraint=self.constraint, objective=ClassSpecific(self.others), solver=self.solver, memory=IN_FLIGHT,
        )  # fmt: skip

    def compared(self, model: nn.Module) -> Method | None:
        """The second method for a network, or None; raises `DataError` if there is no method of that name."""
        return None if self.compare is None else methods([self.compare], model, self.layer)[self.compare]


def parse_what(text: str) -> tuple[What, ...]:
    """Products from a list as the command line takes it.

    Args:
        text: names of products, such as `filter,box`.

    Returns:
        The products, in the order of `What`.

    Raises:
        RunError: for a name that does not exist.
    """
    known = get_args(What)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise RunError(f"{name!r} cannot be kept{nearest(name, known)}; expected some of {', '.join(known)}")
    return tuple(name for name in known if name in names)


def named_solver(text: str) -> str:
    """A solver's name, checked; raises `RunError` for one that does not exist."""
    if text in SOLVERS:
        return text
    raise RunError(f"unknown solver {text!r}; expected one of {', '.join(SOLVERS)}")


def settings_of(options: RunOptions, loaded: LoadedModel, layer: str, layout: str, device: str) -> JsonObject:
    """Everything that the rows of a run follow from, but for the pictures.

    Args:
        options: what is asked of every picture.
        loaded: the network and how to feed it.
        layer: the name of the layer that is looked at.
        layout: where space is in that layer, in words.
        device: the kind of device that computes, such as `cuda`.

    Returns:
        The settings by name, in JSON's types.
    """
    settings = {
        "network": loaded.name, "arguments": dict(loaded.card.arguments), "weights": loaded.fingerprint,
        **asdict(options), "layer": layer, "layout": layout, "preprocessing": loaded.card.feeding, "device": device,
        "versions": _versions(),
    }  # fmt: skip
    return json.loads(json.dumps(settings, default=str))


def _versions() -> dict[str, str]:
    own = {name: torch.__version__ if name == "torch" else version(name) for name in LIBRARIES}
    return {"l2caf": l2caf.__version__, "python": platform.python_version(), **own}
