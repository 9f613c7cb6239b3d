import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import nn

from l2caf.errors import TailError, TargetError
from l2caf.methods import CAM, GradCAM, GradCAMAbs


def test_cam_is_the_class_weights_times_the_features() -> None:
    model, x = networks.gap(), networks.pictures()
    with torch.no_grad():
        features = model[0](x)
        by_hand = torch.einsum("bchw,kc->bkhw", features, model[3].weight[[4, 1]])
    assert torch.allclose(CAM(model)(x, [4, 1]).map, by_hand, atol=1e-5)


def test_cam_refuses_a_tail_without_global_average_pooling() -> None:
    for make in (networks.fully_connected, lambda: networks.seeded(networks.Flattening())):
        with pytest.raises(TailError, match="use GradCAM"):
            CAM(make())(networks.pictures(), "top1")


def test_gradcam_is_the_positive_part_of_cam_up_to_scale_under_global_average_pooling() -> None:
    model, x = networks.gap(), networks.pictures()
    cam, gradcam = CAM(model)(x, [0, 5]).map, GradCAM(model)(x, [0, 5]).map
    assert torch.allclose(gradcam * gradcam[0, 0].numel(), cam.clamp(min=0), atol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("make", [networks.gap, networks.fully_connected])
def test_gradcam_agrees_with_captum_torchcam_and_pytorch_grad_cam(make: object) -> None:
    from captum.attr import LayerGradCam  # noqa: PLC0415
    from torchcam.methods import GradCAM as Torchcam  # noqa: PLC0415

    from l2caf.torchvision_compat import import_torchvision  # noqa: PLC0415

    import_torchvision()
    from pytorch_grad_cam import GradCAM as Jacob  # noqa: PLC0415
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: PLC0415

    model, x = make(), networks.pictures()  # type: ignore[operator]
    layer, classes = model[0], torch.tensor([2, 0, 5])
    ours = GradCAM(model, "0")(x, classes)
    theirs = LayerGradCam(model, layer).attribute(x, target=classes, relu_attributions=True)
    assert torch.allclose(ours.map, theirs, atol=1e-6)
    peak = ours.map.flatten(2).amax(-1)[..., None, None].clamp_min(1e-12)  # a map may be zero throughout
    with Torchcam(model, layer) as cam:
        scaled = cam(classes.tolist(), model(x.clone().requires_grad_()))[0]  # divides by the maximum less the minimum
    ours_scaled = ours.map - ours.map.amin((2, 3), keepdim=True)
    ours_scaled = ours_scaled / ours_scaled.amax((2, 3), keepdim=True).clamp_min(1e-12)
    assert torch.allclose(ours_scaled[:, 0], scaled, atol=1e-4)
    with Jacob(model, [layer]) as cam:
        raw = cam.get_cam_image(x, layer, [ClassifierOutputTarget(int(c)) for c in classes], *_parts(model, x, classes))
    assert torch.allclose((ours.map / peak)[:, 0], torch.as_tensor(raw).clamp(min=0).float() / peak[:, 0], atol=1e-4)


def _parts(model: nn.Module, x: torch.Tensor, classes: torch.Tensor) -> tuple[object, object]:
    """Activations and gradients as arrays, taken by autograd here."""
    activations = model[0](x).detach().requires_grad_()
    scores = model[1:](activations * 1)
    (gradients,) = torch.autograd.grad(scores.gather(1, classes[:, None]).sum(), activations)
    return activations.detach().numpy(), gradients.numpy()


def test_the_network_is_untouched_and_a_missing_class_is_refused() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    with untouched(model):
        GradCAM(model)(x, "top2")
    with untouched(model), pytest.raises(TargetError, match="needs a class"):
        CAM(model)(x)


def test_without_a_class_the_gradient_is_that_of_the_sum_of_an_embedding() -> None:
    model, x = networks.gap(), networks.pictures()
    features = model[0](x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model[1:](features).sum(), features)
    by_hand = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).detach()
    assert GradCAM(model)(x).target is None
    assert torch.allclose(GradCAM(model)(x).map, by_hand.clamp(min=0), atol=1e-6)
    assert torch.allclose(GradCAMAbs(model)(x).map, by_hand.abs(), atol=1e-6)
    assert bool((by_hand < 0).any())


def test_the_heatmap_is_the_positive_part_scaled_to_one_at_the_size_of_the_input() -> None:
    heat = CAM(networks.gap())(networks.pictures(), "top3").heatmap()
    assert heat.shape == (3, 3, 16, 16)
    assert float(heat.min()) >= 0
    top = heat.amax((2, 3))
    assert bool(((top - 1).abs() < 1e-6).logical_or(top == 0).all())  # 0 where nothing speaks for the class
    assert int((top > 0).sum()) > 4
