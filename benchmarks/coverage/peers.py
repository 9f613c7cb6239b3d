"""Whether other libraries give a class activation map of the same network.

torchcam is asked by itself, the others at the layer that l2caf found, which is what they must be told.
"""

from typing import Final

import torch
from torch import Tensor, nn

from l2caf.torchvision_compat import import_torchvision


def ask(peer: str, model: nn.Module, inputs: Tensor, layer: str) -> str:
    """`map`, or why there is none."""
    try:
        cam = PEERS[peer](model, inputs, layer)
    except Exception as error:  # noqa: BLE001  (whatever goes wrong is the answer)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    if cam.dim() != 3 or min(cam.shape[1:]) < 2:
        return f"no map of two dimensions: {tuple(cam.shape)}"
    if not bool(torch.isfinite(cam).all()):
        return "not finite"
    return "map" if bool((cam.flatten(1).std(1) > 0).all()) else "blank"


def _torchcam(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    del layer  # it looks for one itself
    from torchcam.methods import GradCAM  # noqa: PLC0415

    with GradCAM(model, input_shape=tuple(inputs.shape[1:])) as cam:
        scores = model(inputs.clone().requires_grad_())
        return cam(scores.argmax(1).tolist(), scores)[0]


def _pytorch_grad_cam(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    import_torchvision()
    from pytorch_grad_cam import GradCAM  # noqa: PLC0415

    with GradCAM(model, [model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(inputs, None))


def _captum(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    from captum.attr import LayerGradCam  # noqa: PLC0415

    with torch.no_grad():
        classes = model(inputs).argmax(1)
    cam = LayerGradCam(model, model.get_submodule(layer)).attribute(inputs, classes, relu_attributions=True)
    return cam.squeeze(1)


PEERS: Final = {"torchcam": _torchcam, "pytorch-grad-cam": _pytorch_grad_cam, "captum": _captum}
