"""The localisation networks, against arrays worked out by hand and the grids of the literature."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from l2caf import L2CAF, Certificate
from l2caf.data.pictures import prepare
from l2caf.errors import ModelError, WeightsError
from l2caf.methods import CAM, GradCAM
from l2caf.models import ModelCard, load, wsol
from l2caf.models.wsol.acol import erased, fuse, minmax
from l2caf.models.wsol.adl import drop_mask, importance
from l2caf.models.wsol.networks import new_layers
from l2caf.models.wsol.trunks import TRUNKS

# Two channels whose mean is [[1, 2], [3, 4]].
FEATURES = torch.tensor([[[[0.0, 1.0], [5.0, 2.0]], [[2.0, 3.0], [1.0, 6.0]]]])


def test_the_drop_mask_hides_what_reaches_gamma_times_the_maximum_of_each_picture() -> None:
    mean = FEATURES.mean(1, keepdim=True)
    assert mean[0, 0].tolist() == [[1, 2], [3, 4]]
    assert drop_mask(mean, 0.75)[0, 0].tolist() == [[1, 1], [0, 0]]  # 3 is 0.75 of 4: not less, so hidden
    assert drop_mask(mean, 0.8)[0, 0].tolist() == [[1, 1], [1, 0]]
    both = torch.cat([mean, 10 * mean.flip(3)])
    assert drop_mask(both, 0.8)[1, 0].tolist() == [[1, 1], [0, 1]]


def test_the_importance_map_is_the_sigmoid_of_the_mean() -> None:
    expected = [[1 / (1 + 2.718281828**-value) for value in row] for row in ((1, 2), (3, 4))]
    assert torch.allclose(importance(FEATURES.mean(1, keepdim=True))[0, 0], torch.tensor(expected))


@pytest.mark.parametrize(("drop_rate", "kept"), [(1.0, [[1, 1], [1, 0]]), (0.0, None)])
def test_in_training_the_layer_multiplies_by_one_of_its_maps(drop_rate: float, kept: list[list[float]] | None) -> None:
    factor = importance(FEATURES.mean(1, keepdim=True)) if kept is None else torch.tensor(kept)
    assert torch.equal(wsol.ADL(0.8, drop_rate)(FEATURES), FEATURES * factor)


def test_the_drop_mask_is_chosen_three_times_in_four_and_once_for_the_batch() -> None:
    layer, batch = wsol.ADL(0.8), FEATURES.expand(3, -1, -1, -1)
    outputs = [layer(batch) for _ in range(2000)]
    is_dropped = [float(output[0, 0, 1, 1]) == 0 for output in outputs]
    assert abs(sum(is_dropped) / 2000 - 0.75) < 0.04  # four standard deviations of 2000 coins
    assert all(
        bool((output[:, :, 1, 1] == 0).all()) == dropped for output, dropped in zip(outputs, is_dropped, strict=True)
    )


def test_in_evaluation_the_layer_hands_its_input_on() -> None:
    assert wsol.ADL().eval()(FEATURES) is FEATURES


def test_gradients_flow_through_the_importance_map_and_not_through_the_mask() -> None:
    point = torch.tensor([[[[0.5]]]], dtype=torch.float64, requires_grad=True)
    wsol.ADL(drop_rate=0.0)(point).sum().backward()
    sigmoid = 1 / (1 + torch.tensor(-0.5, dtype=torch.float64).exp())
    assert point.grad is not None
    assert torch.allclose(point.grad.squeeze(), sigmoid + 0.5 * sigmoid * (1 - sigmoid))
    features = FEATURES.clone().requires_grad_()
    wsol.ADL(0.8, drop_rate=1.0)(features).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, drop_mask(FEATURES.mean(1, keepdim=True), 0.8).expand_as(FEATURES))


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"drop_rate": -0.1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="expected shares"):
        wsol.ADL(**options)
    with pytest.raises(ModelError, match="expected a share"):
        wsol.build("digits-acol", threshold=1.2)


def test_erasing_takes_away_what_the_min_max_map_puts_at_the_threshold_or_above() -> None:
    heat = torch.tensor([[[2.0, 4.0], [5.0, 7.0]]])  # min-max: 0, 0.4, 0.6, 1
    assert erased(torch.ones(1, 2, 2, 2), heat, 0.6)[0, 1].tolist() == [[1, 1], [0, 0]]
    assert erased(torch.ones(1, 2, 2, 2), heat, 0.61)[0, 0].tolist() == [[1, 1], [1, 0]]


def test_fused_maps_are_the_larger_of_two_min_max_maps() -> None:
    first, second = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), torch.tensor([[[10.0, 10.0], [9.0, 5.0]]])
    assert torch.allclose(fuse(first, second)[0], torch.tensor([[1.0, 1.0], [0.8, 1.0]]))
    assert minmax(torch.full((1, 2, 2), 3.0)).tolist() == [[[0, 0], [0, 0]]]


def test_the_second_head_does_not_see_what_the_first_looks_at() -> None:
    net = wsol.ACoL(nn.Sequential(nn.Identity()), 3, 2, width=4)
    net.first = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False))
    net.second = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False))
    with torch.no_grad():
        net.first[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]).view(2, 3, 1, 1))
        net.second[0].weight.copy_(torch.tensor([[0.0, 0, 1], [0, 0, 2]]).view(2, 3, 1, 1))
    x = torch.zeros(1, 3, 2, 2)
    x[0, 1] = torch.tensor([[0.0, 1.0], [3.0, 4.0]])  # min-max: 0, 0.25, 0.75, 1: the lower row is erased
    x[0, 2] = 8.0
    both = net(x, torch.tensor([1]))
    assert both[0, 0].tolist() == [0, 2]  # the mean of the first head's maps
    assert both[1, 0].tolist() == [4, 8]  # two of four positions, 8 and 16 there
    assert torch.equal(net(x), both[0])
    assert net.fused(x, torch.tensor([1]))[0].tolist() == [[1, 1], [0.75, 1]]


@pytest.mark.parametrize("name", TRUNKS)
def test_the_last_grid_is_14_by_14(name: str) -> None:
    side = 112 if name == "digits" else 224
    with torch.device("meta"):  # shapes, without the work
        trunk = TRUNKS[name](None)
        grid = nn.Sequential(*trunk.layers.values()).eval()(torch.zeros(1, 3, side, side))
    assert grid.shape == (1, trunk.channels, 14, 14)


@pytest.mark.parametrize("name", wsol.names())
def test_every_network_is_explained_as_any_other(name: str) -> None:
    loaded = load(f"wsol/{name}", card=ModelCard(arguments={"num_classes": 7}), pretrained=False)
    x = torch.randn(2, 3, 64, 64)
    assert loaded.model(x).shape == (2, 7)
    caf = L2CAF(loaded.model)
    with caf.cut(x) as cut:
        maps = caf.on(cut), caf.on(cut, "top1")
        cam, gradcam = CAM(loaded.model).on(cut, "top1").map, GradCAM(loaded.model).on(cut, "top1").map
    for found in maps:
        assert found.question.layer == ("first" if name.endswith("acol") else "features")
        assert found.filter.shape[2:] == ((8, 8) if name.startswith("digits") else (4, 4))
        assert all(one == Certificate.GLOBAL for one in found.certificate.flat)
    assert torch.allclose(cam.clamp(min=0), gradcam * gradcam[0, 0].numel(), rtol=1e-3, atol=1e-5)


def test_weights_fit_by_name_and_bring_their_number_of_classes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = wsol.build("digits-gap", num_classes=7)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    loaded = load("wsol/digits-adl", weights=tmp_path / "w.safetensors")
    x = torch.randn(1, 3, 112, 112)
    assert torch.equal(loaded.model(x), model.eval()(x))
    assert loaded.card.size == (112, 112)
    with pytest.raises(WeightsError, match="tensors missing"):
        load("wsol/digits-acol", weights=tmp_path / "w.safetensors")


def test_a_trunk_brings_its_weights_and_new_layers_are_new() -> None:
    backbone = load("embedded/digits").model
    kept = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model = wsol.build("digits-adl", backbone=backbone)
    state = model.state_dict()
    assert torch.equal(state["features.stage3.conv2.weight"], kept["features.3.conv2.weight"])
    assert new_layers(model) == [model.classifier]
    assert not torch.equal(state["classifier.weight"], kept["classifier.weight"])


def test_adl_lies_where_its_authors_put_it() -> None:
    with torch.device("meta"):
        networks = {name: wsol.build(name) for name in ("vgg16-adl", "resnet50se-adl")}
    places = {
        name: [part for part, layer in net.named_modules() if isinstance(layer, wsol.ADL)]
        for name, net in networks.items()
    }
    assert places["vgg16-adl"] == [f"features.stage{stage}_adl" for stage in (3, 4, 5)]
    assert places["resnet50se-adl"] == [
        "features.layer3_first_adl", "features.layer4_first_adl", "features.layer4_rest_adl"
    ]  # fmt: skip


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match="vgg16-adl"):
        wsol.build("vgg16-adI")
    with pytest.raises(WeightsError, match="l2caf train wsol"):
        load("wsol/digits-gap")
    with pytest.raises(ModelError, match="does not take these arguments"):
        load("wsol/digits-gap", card=ModelCard(arguments={"gamma": 0.8}), pretrained=False)
    with pytest.raises(ModelError, match="num_classes=0"):
        wsol.build("digits-gap", num_classes=0)


def test_the_centre_of_a_squashed_picture_is_adls_input() -> None:
    picture = Image.linear_gradient("L").convert("RGB").resize((512, 256))
    inputs, region = prepare(picture, size=(224, 224), mean=(0.0,), std=(1.0,), fit="squash-crop")
    assert inputs.shape == (3, 224, 224)
    assert region == (32, 16, 480, 240)
