"""Every method of a comparison behind one call: a network cut open and classes in, maps out.

cam, gradcam, gradcam-abs                     baselines
gradcam-sum, gradcam-abs-sum                  Eq. 6 and Eq. 7: of all components of the output, for embeddings
l2caf                                         class-oblivious (Eq. 1): one map whatever the class
l2caf-direction                               likewise, of the normalised output
l2caf-top1, l2caf-top5                        class-oblivious, only the largest logits kept
l2caf-specific, l2caf-mean                    class-specific (Eq. 2), the other classes summed or averaged
l2caf-mean-nonnegative                        the latter without negative weights: nothing but what speaks for the class
l2caf-nonnegative, -l1, -softmax, -gaussian   class-oblivious under other constraints
acol                                          ACoL's own map, both heads' fused; only for such a network
centre, whole                                 a fixed Gaussian, and the whole picture: what any method must beat
torchcam:NAME, pytorch-grad-cam:NAME          methods of the peers, such as torchcam:LayerCAM
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from l2caf.attention import L2CAF, Cut
from l2caf.constraints import UnitL2
from l2caf.errors import DataError, ExtraMissingError, nearest
from l2caf.methods import CAM, GradCAM, GradCAMAbs
from l2caf.models.wsol import ACoL
from l2caf.objectives import ClassSpecific, Oblivious, Similar
from l2caf.shapes import Targets
from l2caf.torchvision_compat import import_torchvision

Maps = Float[Tensor, "b k *grid"]
CLASS_FREE: Final = frozenset(
    {"gradcam-sum", "gradcam-abs-sum", "l2caf", "l2caf-direction", "l2caf-nonnegative", "l2caf-l1", "l2caf-softmax"}
    | {"l2caf-gaussian", "l2caf-top1", "l2caf-top5", "centre", "whole"}
)  # of no class: what embeddings can be explained by
CENTRE_SIGMA: Final = 0.25  # of the grid's side


@runtime_checkable
class Method(Protocol):
    """From an open network and classes to maps."""

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        """Non-negative maps (b, k, *grid), one for each class."""


@dataclass(frozen=True, slots=True)
class _Specific:
    caf: L2CAF

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        return self.caf.on(cut, targets).filter.abs()


@dataclass(frozen=True, slots=True)
class _Oblivious:
    caf: L2CAF

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        return self.caf.on(cut).filter.abs().expand(-1, targets.shape[1], *cut.tail.grid)


@dataclass(frozen=True, slots=True)
class _Baseline:
    cam: GradCAM

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        return self.cam.on(cut, targets).map.clamp(min=0)


@dataclass(frozen=True, slots=True)
class _Summed:
    """A baseline of the whole output: one map whatever the class."""

    cam: GradCAM

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        return self.cam.on(cut).map.expand(-1, targets.shape[1], *cut.tail.grid)


@dataclass(frozen=True, slots=True)
class _Fused:
    """ACoL's own map; the network runs anew, since what its second head sees depends on the class."""

    model: ACoL

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        (inputs,) = cut.inputs.tensors()
        with torch.no_grad():
            return torch.stack([self.model.fused(inputs, column) for column in targets.T], dim=1)


def _fused(model: nn.Module) -> Method:
    if not isinstance(model, ACoL):
        raise DataError("method 'acol' needs a network with ACoL's two heads, such as wsol/vgg16-acol")
    return _Fused(model)


def _centre(cut: Cut, targets: Targets) -> Maps:
    """A Gaussian in the middle."""
    axes = [torch.linspace(-1, 1, size) / (2 * CENTRE_SIGMA) for size in cut.tail.grid]
    distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    return torch.exp(-distance / 2).expand(*targets.shape, *cut.tail.grid)


def _whole(cut: Cut, targets: Targets) -> Maps:
    """Everywhere alike."""
    return torch.ones(*targets.shape, *cut.tail.grid)


@dataclass(frozen=True, slots=True)
class _Peer:
    """A method of another library, on the same network and layer; it runs the network itself."""

    ask: Callable[[nn.Module, Tensor, str, list[int]], Tensor]
    model: nn.Module

    def __call__(self, cut: Cut, targets: Targets) -> Maps:
        (inputs,) = cut.inputs.tensors()
        with torch.enable_grad():
            maps = [self.ask(self.model, inputs, cut.layer, column.tolist()) for column in targets.T]
        return torch.stack(maps, dim=1).detach().clamp(min=0)


def _torchcam(name: str, model: nn.Module, inputs: Tensor, layer: str, classes: list[int]) -> Tensor:
    with _method("torchcam.methods", name)(model, layer) as cam:
        scores = model(inputs.clone().requires_grad_())
        return torch.nan_to_num(cam(classes, scores)[0])


def _pytorch_grad_cam(name: str, model: nn.Module, inputs: Tensor, layer: str, classes: list[int]) -> Tensor:
    import_torchvision()
    targets = _imported("pytorch_grad_cam.utils.model_targets")
    with _method("pytorch_grad_cam", name)(model, [model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(inputs, [targets.ClassifierOutputTarget(number) for number in classes]))


def _method(module: str, name: str) -> Any:
    library = _imported(module)
    if not isinstance(getattr(library, name, None), type):
        known = [each for each, value in vars(library).items() if isinstance(value, type)]
        raise DataError(f"{module} has no method {name!r}{nearest(name, known)}")
    return getattr(library, name)


def _imported(module: str) -> Any:
    import importlib  # noqa: PLC0415

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissingError(f"{module} is not installed; install it with `pip install l2caf[bench]`") from error


PEERS: Final = {"torchcam": _torchcam, "pytorch-grad-cam": _pytorch_grad_cam}


def methods(names: list[str], model: nn.Module, layer: str | None = None, output: Any = None) -> dict[str, Method]:
    """Methods by name, for one network.

    Args:
        names: as listed above.
        model: the network.
        layer: where to look; None for the default layer.
        output: as for `L2CAF`.

    Returns:
        A method for each name, in their order.

    Raises:
        DataError: if there is no such method, or it does not fit the network; it names the nearest.
    """
    caf = partial(L2CAF, model, layer, output=output)
    cam = {"layer": layer, "output": output}
    known: dict[str, Callable[[], Method]] = {
        "cam": lambda: _Baseline(CAM(model, **cam)),
        "gradcam": lambda: _Baseline(GradCAM(model, **cam)),
        "gradcam-abs": lambda: _Baseline(GradCAMAbs(model, **cam)),
        "gradcam-sum": lambda: _Summed(GradCAM(model, **cam)),
        "gradcam-abs-sum": lambda: _Summed(GradCAMAbs(model, **cam)),
        "l2caf": lambda: _Oblivious(caf()),
        "l2caf-specific": lambda: _Specific(caf(objective=ClassSpecific())),
        "l2caf-mean": lambda: _Specific(caf(objective=ClassSpecific("mean"))),
        "l2caf-mean-nonnegative": lambda: _Specific(
            caf(objective=ClassSpecific("mean"), constraint=UnitL2(nonnegative=True))
        ),
        "l2caf-direction": lambda: _Oblivious(caf(objective=Similar())),
        "l2caf-top1": lambda: _Oblivious(caf(objective=Oblivious(top=1))),
        "l2caf-top5": lambda: _Oblivious(caf(objective=Oblivious(top=5))),
        "l2caf-nonnegative": lambda: _Oblivious(caf(constraint=UnitL2(nonnegative=True))),
        "l2caf-l1": lambda: _Oblivious(caf(constraint="l1")),
        "l2caf-softmax": lambda: _Oblivious(caf(constraint="softmax")),
        "l2caf-gaussian": lambda: _Oblivious(caf(constraint="gaussian")),
        "acol": lambda: _fused(model),
        "centre": lambda: _centre,
        "whole": lambda: _whole,
    }
    found: dict[str, Method] = {}
    for name in names:
        library, _, peer = name.partition(":")
        if peer and library in PEERS:
            found[name] = _Peer(partial(PEERS[library], peer), model)
        elif name in known:
            found[name] = known[name]()
        else:
            every = [*known, *(f"{library}:NAME" for library in PEERS)]
            raise DataError(f"unknown method {name!r}{nearest(name, known)}; expected some of {', '.join(every)}")
    return found
