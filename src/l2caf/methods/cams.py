"""CAM, Grad-CAM and Grad-CAM-abs on a recorded tail.

Grad-CAM (Eq. 4 and 5 of the paper): M = ReLU(sum_k a_k A^k) with a_k the mean over positions of dy_c / dA^k.
For an embedding (Eq. 6) the sum of the output's components takes the place of y_c.
Grad-CAM-abs (Eq. 7): the magnitude takes the place of the ReLU.
CAM: the same map without the ReLU where global average pooling and one linear layer follow; there the gradient is the
class's weight vector, divided by the number of positions.

A relative of Grad-CAM is a subclass with its own `_weigh`, entered into the table of methods by `@baseline("name")`.

References: Zhou et al., CVPR 2016; Selvaraju et al., ICCV 2017.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from l2caf import pictures
from l2caf.attention import L2CAF, Cut
from l2caf.attention.output import OutputChoice
from l2caf.attention.targets import Target
from l2caf.errors import TailError, TargetError
from l2caf.layouts import Layout
from l2caf.methods.registry import METHODS, Factory, Maps, Method, OfClass, OfOutput
from l2caf.shapes import Targets
from l2caf.tail import Tail, is_affine

C = TypeVar("C", bound="type[GradCAM]")


@dataclass(frozen=True)
class ClassMap:
    """Maps of a baseline.

    Attributes:
        map: maps (b, k, *grid), or (b, s, k, *grid) where each of s runs of the layer, or frames, has its own; signed
            for CAM, else non-negative; zero throughout where nothing speaks for a class.
        target: classes (b, k); None where the map is of the whole output (k = 1).
        layer: the name of the layer.
        input_size: the spatial size of the inputs, in pixels for pictures.
    """

    map: Float[Tensor, " b *maps_and_grid"]
    target: Int[Tensor, "b k"] | None
    layer: str
    input_size: tuple[int, ...]

    def heatmap(self, size: tuple[int, ...] | None = None) -> Float[Tensor, " b *maps_and_size"]:
        """The positive part, resized to `size` (the inputs' by default) and divided by its maximum, in [0, 1]."""
        rank = len(self.input_size)
        axes = self.map.shape[1 : self.map.dim() - rank]
        resized = pictures.resize(self.map.clamp(min=0).flatten(1, len(axes)), size or self.input_size)
        return pictures.normalized(resized, rank=rank).unflatten(1, axes)


def baseline(name: str, *, summed: str | None = None) -> Callable[[C], C]:
    """Decorator that enters `GradCAM` or a subclass into the table of methods.

    Args:
        name: the method of that name explains a class.
        summed: the method of that name explains the sum of the output's components (Eq. 6), for embeddings; None for
            no such method.

    Returns:
        A decorator of classes.
    """

    def enter(kind: C) -> C:
        METHODS.register(name)(_of_class(kind))
        if summed is not None:
            METHODS.register(summed)(_of_sum(kind))
        return kind

    return enter


def _of_class(kind: "type[GradCAM]") -> Factory:
    def factory(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
        cam = kind(model, layer, output=output)

        def explain(cut: Cut, targets: Targets) -> Maps:
            return cam.on(cut, targets).map.clamp(min=0)

        return OfClass(explain)

    factory.__doc__ = _first_sentence(kind)
    return factory


def _of_sum(kind: "type[GradCAM]") -> Factory:
    def factory(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
        cam = kind(model, layer, output=output)

        def explain(cut: Cut) -> Maps:
            return cam.on(cut).map.clamp(min=0)

        return OfOutput(explain)

    factory.__doc__ = f"{_first_sentence(kind).removesuffix('.')}; of all components of the output (Eq. 6)."
    return factory


def _first_sentence(kind: "type[GradCAM]") -> str:
    return (kind.__doc__ or kind.__name__).strip().partition("\n")[0]


@baseline("gradcam", summed="gradcam-sum")
class GradCAM:
    """Grad-CAM (Eq. 4 and 5), with the interface of `L2CAF`.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        >>> net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> GradCAM(net)(torch.rand(2, 3, 16, 16), "top1").map.shape
        torch.Size([2, 1, 7, 7])
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        output: OutputChoice = None,
        layout: str | Layout | Callable[[Tensor], Layout | None] = "auto",
    ) -> None:
        """Options for all calls.

        Args:
            model: any classifier or embedding network.
            layer: the layer to look at, as for `L2CAF`.
            output: which part of the network's output to explain, as for `L2CAF`.
            layout: where space is in the layer's feature map, as for `L2CAF`.
        """
        self._caf = L2CAF(model, layer, output=output, layout=layout)

    def __call__(self, inputs: Any, target: Target = None) -> ClassMap:
        """Maps of a batch.

        Args:
            inputs: what the network takes, as for `L2CAF`.
            target: classes, as for `L2CAF`; None for the sum of the output's components (Eq. 6), which is meant for
                embeddings. CAM needs classes.

        Returns:
            One map per input and class.

        Raises:
            TargetError: if a class does not exist, or CAM is asked for none.
        """
        with self._caf.cut(inputs) as cut:
            return self.on(cut, target)

    def on(self, cut: Cut, target: Target = None) -> ClassMap:
        """The maps of a network that is cut open already (`L2CAF.cut`); target and result are those of a call."""
        tail = cut.tail
        targets = self._caf.targets(target, tail)
        self._check(targets)
        maps = self._weigh(tail, _feature_gradient(tail, targets))
        b = tail.n_inputs // tail.n_calls
        axes = (b, -1) if cut.calls is None else (b, tail.n_calls, maps.shape[1])
        classes = None if targets is None else targets[:: tail.n_calls]
        return ClassMap(maps.reshape(*axes, *tail.grid), classes, cut.layer, cut.input_size)

    def _check(self, targets: Targets | None) -> None:
        """Refuse what the method has no map for."""

    def _weigh(self, tail: Tail, gradient: Float[Tensor, "k b p c"]) -> Float[Tensor, "b k p"]:
        """The sum of the channels, weighted by the mean gradient; its positive part."""
        return _weighted_sum(tail, gradient.mean(dim=2)).clamp(min=0)


@baseline("gradcam-abs", summed="gradcam-abs-sum")
class GradCAMAbs(GradCAM):
    """Grad-CAM-abs (Eq. 7), with the interface of `L2CAF`."""

    def _weigh(self, tail: Tail, gradient: Float[Tensor, "k b p c"]) -> Float[Tensor, "b k p"]:
        """The sum of the channels, weighted by the mean gradient; its magnitude."""
        return _weighted_sum(tail, gradient.mean(dim=2)).abs()


@baseline("cam")
class CAM(GradCAM):
    """Class activation maps; only for global average pooling and one linear layer after the layer."""

    def _check(self, targets: Targets | None) -> None:
        if targets is None:
            raise TargetError("a class activation map needs a class; got None (GradCAM and L2CAF take none)")

    def _weigh(self, tail: Tail, gradient: Float[Tensor, "k b p c"]) -> Float[Tensor, "b k p"]:
        spread = (gradient - gradient[:, :, :1]).abs().amax()
        if not bool(is_affine(tail).all()) or spread > 1e-4 * gradient.abs().amax():
            raise TailError("CAM needs global average pooling and one linear layer after the layer; use GradCAM")
        return _weighted_sum(tail, gradient[:, :, 0] * tail.n_positions)


def _feature_gradient(tail: Tail, targets: Targets | None) -> Float[Tensor, "k b p c"]:
    """dy_c / dA for every input and class, by position; without classes, of the sum of all components."""
    with torch.enable_grad():
        features = tail.features.detach().clone().requires_grad_()
        outputs = tail.through(features * 1, tail.all_rows())  # a non-leaf, so that in-place layers may write into it
        chosen = outputs.sum().unsqueeze(0) if targets is None else outputs.gather(1, targets).sum(0)
        gradients = [torch.autograd.grad(score, features, retain_graph=True)[0] for score in chosen]
    return torch.stack([tail.layout.vectors(gradient) for gradient in gradients])


def _weighted_sum(tail: Tail, weights: Float[Tensor, "k b c"]) -> Float[Tensor, "b k p"]:
    return torch.einsum("bpc,kbc->bkp", tail.layout.vectors(tail.features).float(), weights.float())
