"""What users of other libraries ran into; the numbers are the issues in which they said so."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.errors import TargetError
from l2caf.torchvision_compat import import_torchvision


@pytest.mark.parametrize("layer", ["features.norm5", "features.denseblock4.denselayer16"])
def test_in_place_relus_at_and_around_the_layer(layer: str) -> None:
    # pytorch-grad-cam #147, #148, #164, #185; torch-cam #72
    torch.manual_seed(0)
    model = import_torchvision().models.densenet121(weights=None, num_classes=7).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        seen: list[Tensor] = []
        handle = model.get_submodule(layer).register_forward_hook(lambda *args: seen.append(args[2].clone()))
        model(x)
        handle.remove()
    with untouched(model), L2CAF(model, layer).cut(x) as cut:
        assert torch.equal(cut.tail.features, seen[0])  # before the next layer wrote into it: with its negative values
        assert float(cut.tail.features.min()) < 0
    attention = L2CAF(model, layer)(x, "top2")
    assert bool((attention.loss <= attention.uniform_loss + 1e-6).all())


class RgbAndDepth(nn.Module):
    """Two inputs, a dictionary out."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True))
        self.depth = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(inplace=True))
        self.head = nn.Linear(12, 5)

    def forward(self, rgb: Tensor, *, depth: Tensor) -> dict[str, Tensor]:
        both = torch.cat([self.colour(rgb), self.depth(depth)], 1)
        return {"logits": self.head(both.mean((2, 3))), "size": both.amax((2, 3))}


@pytest.mark.parametrize("layer", ["colour", "depth"])
def test_two_inputs_and_a_dictionary_out(layer: str) -> None:
    # CorrNet #30; pytorch-grad-cam #115, #159, #253, #279, #406
    model = networks.seeded(RgbAndDepth())
    inputs = {"rgb": torch.rand(2, 3, 16, 24), "depth": torch.rand(2, 1, 16, 24)}
    with untouched(model):
        attention = L2CAF(model, layer, output="logits")(inputs, "top2")
    with torch.no_grad():
        maps = {"colour": model.colour(inputs["rgb"]), "depth": model.depth(inputs["depth"])}
        maps[layer] = maps[layer] * attention.filter[:, :1]
        logits = model.head(torch.cat([maps["colour"], maps["depth"]], 1).mean((2, 3)))
    classes = attention.target[:, :1]  # type: ignore[index]
    assert torch.allclose(
        (logits.sum(1) - 2 * logits.gather(1, classes)[:, 0]).double(), attention.loss[:, 0], rtol=1e-4, atol=1e-5
    )


ROOT = Path(__file__).parents[1]
LOOP = """
import gc, resource, torch
from tests.support import networks
from l2caf import L2CAF
from l2caf.methods import GradCAM

model, x = networks.gap(channels=64), torch.randn(4, 3, 16, 16)
caf, cam = L2CAF(model), GradCAM(model)
for number in range(1000):
    caf(x, "top2" if number % 2 else None)
    if number % 10 == 0:
        cam(x)
    if number in (99, 999):
        gc.collect()
        tensors = sum(type(thing) is torch.Tensor for thing in gc.get_objects())
        print(tensors, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_is_flat_over_a_thousand_calls() -> None:
    # captum #866, #1055; pytorch-grad-cam #78, #88, #112, #117; a process of its own: nothing else allocates there
    done = subprocess.run([sys.executable, "-c", LOOP], check=True, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
    early, late = (tuple(map(int, line.split())) for line in done.stdout.splitlines())
    assert late[0] <= early[0]
    assert late[1] <= early[1] + 4096  # KiB; one kept feature map per call would be 14 times that


def test_several_layers_of_one_network_in_turn_do_not_disturb_each_other() -> None:
    # torch-cam #22, #23, #195
    model, x = networks.fully_connected(), networks.pictures()
    first, second = L2CAF(model, "0.0"), L2CAF(model, "0.1")
    before = first(x).filter
    second(x, "top1")
    assert torch.equal(first(x).filter, before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("layer", [None, "0.0"])
def test_calls_under_no_grad_and_inference_mode_on_frozen_weights(mode: type, layer: str | None) -> None:
    # pytorch-grad-cam #40, #75, #80, #95, #254, #503; torch-cam #26
    model, x = networks.fully_connected(), networks.pictures()
    expected = L2CAF(model, layer)(x, "top2").filter
    model.requires_grad_(requires_grad=False)
    with mode():
        attention = L2CAF(model, layer)(torch.clone(x), "top2")
    assert torch.equal(attention.filter, expected)
    assert not attention.filter.is_inference()


def test_a_target_per_picture_and_no_silent_gap_where_their_number_is_wrong() -> None:
    # pytorch-grad-cam #264, #307, #322, #420; torch-cam #79, #139
    model, x = networks.gap(), networks.pictures()
    mixed = L2CAF(model)(x, torch.tensor([4, 0, 2]))
    assert torch.allclose(mixed.filter[1], L2CAF(model)(x[1:2], 0).filter[0], atol=1e-6)
    with pytest.raises(TargetError, match="does not fit 3 inputs"):
        L2CAF(model)(x, torch.tensor([4]))
    with pytest.raises(TargetError, match="class 1000000 does not exist"):
        L2CAF(model)(x, 10**6)


def test_pictures_that_are_not_square() -> None:
    # pytorch-grad-cam #51, #452; the published PyTorch filter takes its height from the width
    attention = L2CAF(networks.gap())(torch.rand(1, 3, 96, 64), 0)
    assert attention.filter.shape == (1, 1, 48, 32)
    assert attention.heatmap().shape == (1, 1, 96, 64)
    assert attention.overlay().shape == (1, 1, 96, 64, 3)


class Discriminator(nn.Module):
    """One score per picture."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(6, 8, 4, 2, 1))
        self.score = nn.Linear(8 * 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.trunk(x).flatten(1)).squeeze(1)


def test_the_score_of_a_discriminator_is_kept_by_the_oblivious_map() -> None:
    model, x = networks.seeded(Discriminator()), networks.pictures()
    attention = L2CAF(model)(x)
    assert attention.output.shape == (3, 1)
    assert {row[0].label for row in attention.certificate} == {"global"}
    with pytest.raises(TargetError, match="at least two classes"):
        L2CAF(model)(x, 0)


class AutoEncoder(nn.Module):
    """Pictures in, pictures and a code out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 3, 2, 1))
        self.decoder = nn.Sequential(nn.ConvTranspose2d(4, 6, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 4, 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


def test_an_auto_encoder_is_asked_for_its_picture() -> None:
    model, x = networks.seeded(AutoEncoder()), networks.pictures()
    with untouched(model):
        attention = L2CAF(model, "encoder", output=0)(x)
    assert attention.output.shape == (3, 3 * 16 * 16)
    assert bool((attention.loss <= attention.uniform_loss).all())


class Reader(nn.Module):
    """A recurrent head over the columns of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.trunk(x).mean(2).transpose(1, 2)
        return self.head(self.lstm(columns)[0][:, -1])


@pytest.mark.parametrize("target", [None, "top2"])
def test_a_recurrent_head_in_eval_mode(target: str | None) -> None:
    # captum #328, #564, #1159
    model, x = networks.seeded(Reader()), networks.pictures()
    with untouched(model):
        attention = L2CAF(model)(x, target)
    assert attention.question.layer == "trunk"
    assert bool((attention.loss <= attention.uniform_loss + 1e-6).all())


def test_a_data_parallel_network() -> None:
    # pytorch-grad-cam #206, #340, #455
    model, x = networks.gap(), networks.pictures()
    assert torch.equal(L2CAF(nn.DataParallel(model))(x).filter, L2CAF(model)(x).filter)


def test_another_input_of_the_same_class_gives_another_map() -> None:
    # tf-explain #176; pytorch-grad-cam #189
    x = networks.pictures()
    attention = L2CAF(networks.gap())(x, 1)
    assert float((attention.filter[0] * attention.filter[1]).sum()) < 0.999
