"""Methods of other libraries on the same network and layer, by the name that the library gives them.

    torchcam:LayerCAM    pytorch-grad-cam:GradCAMPlusPlus    captum:LayerGradCam

A peer runs the network itself. What it needs is the extra `bench`.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from l2caf.attention import Cut
from l2caf.attention.output import OutputChoice
from l2caf.errors import DataError, nearest
from l2caf.extras import require
from l2caf.methods.registry import METHODS, Factory, Maps, Method, OfClass
from l2caf.shapes import Targets
from l2caf.torchvision_compat import import_torchvision

PeerMaps = Float[Tensor, "b h w"]
Ask = Callable[[Any, nn.Module, Tensor, str, list[int]], PeerMaps]  # the peer's class, network, inputs, layer, classes


def library(prefix: str, module: str) -> Callable[[Ask], Ask]:
    """Decorator that enters a library: how one of its methods is asked for the maps of a batch.

    Args:
        prefix: the library's name in `prefix:NAME`.
        module: the module that holds its methods, imported when one of them is made.

    Returns:
        A decorator of functions that take the method's class, the network, inputs (b, ...), the layer's name and one
        class per input, and return maps (b, h, w).
    """

    def enter(ask: Ask) -> Ask:
        def named(name: str) -> Factory:
            return partial(_made, ask, module, name)

        named.__doc__ = ask.__doc__
        METHODS.family(prefix)(named)
        return ask

    return enter


def _made(ask: Ask, module: str, name: str, model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
    del layer, output  # the layer is the cut's
    import_torchvision()  # peers import it
    known = dict(inspect.getmembers(require(module, extra="bench"), inspect.isclass))
    if name not in known:
        raise DataError(f"{module} has no method {name!r}{nearest(name, known)}")

    def explain(cut: Cut, targets: Targets) -> Maps:
        (inputs,) = cut.inputs.tensors()
        with torch.enable_grad():
            maps = [ask(known[name], model, inputs, cut.layer, column.tolist()) for column in targets.T]
        return torch.stack(maps, dim=1).detach().clamp(min=0)

    return OfClass(explain)


@library("torchcam", "torchcam.methods")
def _torchcam(kind: Any, model: nn.Module, inputs: Tensor, layer: str, classes: list[int]) -> PeerMaps:
    """Any method of torchcam, such as torchcam:LayerCAM."""
    with kind(model, layer) as cam:
        scores = model(inputs.clone().requires_grad_())
        return torch.nan_to_num(cam(classes, scores)[0])


@library("pytorch-grad-cam", "pytorch_grad_cam")
def _pytorch_grad_cam(kind: Any, model: nn.Module, inputs: Tensor, layer: str, classes: list[int]) -> PeerMaps:
    """Any method of pytorch-grad-cam, such as pytorch-grad-cam:GradCAMPlusPlus."""
    chosen = require("pytorch_grad_cam.utils.model_targets", extra="bench").ClassifierOutputTarget
    with kind(model, [model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(inputs, [chosen(number) for number in classes]))


@library("captum", "captum.attr")
def _captum(kind: Any, model: nn.Module, inputs: Tensor, layer: str, classes: list[int]) -> PeerMaps:
    """Any layer method of captum, such as captum:LayerGradCam; its channels are summed."""
    maps = kind(model, model.get_submodule(layer)).attribute(inputs, torch.tensor(classes, device=inputs.device))
    return maps.sum(dim=1)
