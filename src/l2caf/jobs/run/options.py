"""What determines the results of a run, apart from its pictures and its network."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final, Literal, get_args

import torch
from torch import nn

from l2caf.attention import L2CAF
from l2caf.errors import RunError, nearest
from l2caf.methods import CAM, GradCAM, GradCAMAbs
from l2caf.models import LoadedModel
from l2caf.objectives import ClassSpecific, Others
from l2caf.solvers import SOLVERS

What = Literal["filter", "box", "heatmap", "overlay"]
Compare = Literal["cam", "gradcam", "gradcam-abs"]

PEERS: Final[dict[str, type[GradCAM]]] = {"cam": CAM, "gradcam": GradCAM, "gradcam-abs": GradCAMAbs}
LIBRARIES: Final = ("torch", "numpy", "pillow", "pyarrow")
IN_FLIGHT: Final = 2**28  # bytes of filtered maps: fixed, so that no device's default decides how rows are grouped


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every picture.

    Attributes:
        targets: None for the class-oblivious map; `"top1"`, `"top5"`, ...
        what: which products are kept beside losses and certificates.
        layer: where to look; None for the last that reaches the output.
        constraint: name of one.
        others: Eq. 2's other classes, summed or averaged.
        solver: name of one.
        compare: a second method, whose maps' agreement with ours is a column of the results.
        threshold: of the boxes, a share of the map's maximum.
        batch_size: pictures per pass.
        shard_size: pictures per file: what is lost at most when a run is killed.
    """

    targets: str | None = None
    what: tuple[What, ...] = ("filter", "box")
    layer: str | None = None
    constraint: str = "l2"
    others: Others = "sum"
    solver: str = "auto"
    compare: Compare | None = None
    threshold: float = 0.2
    batch_size: int = 32
    shard_size: int = 1024

    def explainer(self, model: nn.Module) -> L2CAF:
        """What finds the maps."""
        return L2CAF(
            model, self.layer,
            constraint=self.constraint, objective=ClassSpecific(self.others), solver=self.solver, memory=IN_FLIGHT,
        )  # fmt: skip


def parse_what(text: str) -> tuple[What, ...]:
    """Products from a list as the command line takes it.

    Args:
        text: such as `filter,box`.

    Returns:
        The products, sorted.

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


def named_compare(text: str) -> Compare | None:
    """A second method's name, checked, None for `none`; raises `RunError` for one that does not exist."""
    for name in get_args(Compare):
        if text == name:
            return name
    if text == "none":
        return None
    raise RunError(f"maps cannot be compared with {text!r}; expected one of {', '.join(PEERS)}, or none")


def settings_of(options: Options, loaded: LoadedModel, layer: str, layout: str, device: str) -> dict[str, Any]:
    """Everything that the rows of a run follow from, but for the pictures, in JSON's types.

    Args:
        options: what is asked.
        loaded: the network and how to feed it.
        layer: where it is looked at.
        layout: where space is in that layer.
        device: the kind that computes, such as `cuda`.

    Returns:
        Settings by name.
    """
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    feeding = {name: _plain(value) for name, value in loaded.card.feeding.items()}
    return {
        "network": loaded.name, "arguments": dict(loaded.card.arguments), "weights": loaded.fingerprint, **asked,
        "layer": layer, "layout": layout, "preprocessing": feeding, "device": device, "versions": _versions(),
    }  # fmt: skip


def _plain(value: object) -> object:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _versions() -> dict[str, str]:
    from l2caf import __version__  # noqa: PLC0415  (the package is being imported when this module is)

    own = {name: torch.__version__ if name == "torch" else version(name) for name in LIBRARIES}
    return {"l2caf": __version__, "python": platform.python_version(), **own}
