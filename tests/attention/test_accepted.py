"""The boundary: what cannot be explained is refused in words that say what to pass instead."""

import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF, Attention
from l2caf.attention.accepted import accepted_network
from l2caf.errors import DataError, LayerError, LayoutError, ModelError, TailError


class Outer(nn.Module):
    """A network as an attribute, since torch exports no `nn.Sequential` by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = networks.gap()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def exported(*, dynamic: bool = False) -> torch.export.ExportedProgram:
    shapes = {"x": {0: torch.export.Dim("b")}} if dynamic else None
    return torch.export.export(Outer().eval(), (networks.pictures(),), dynamic_shapes=shapes)


OBJECTS = [
    (None, "NoneType; expected an `nn.Module`"),
    ("resnet18", "the text 'resnet18'"),
    ([networks.gap()], "of type list; expected"),
    (Outer, r"call it: `Outer\(\.\.\.\)`"),
    (networks.gap().forward, "of type method, which does not show what modules it calls"),
    (lambda x: x, "write one that has the network as an attribute"),
    (SimpleNamespace(task="classification", model=networks.gap()), "pass its `.model`"),  # a pipeline of Hugging Face's
    (SimpleNamespace(trunk=networks.gap(), embedder=nn.Identity()), "pass its `.trunk` or its `.embedder`"),
]


@pytest.mark.parametrize(("given", "message"), OBJECTS)
def test_what_is_no_network_is_refused_with_what_to_pass_instead(given: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        accepted_network(given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [lambda network: network, nn.DataParallel])
def test_torchscript_is_refused_alone_and_works_as_a_part(wrap: type[nn.Module]) -> None:
    model, x = networks.gap(), networks.pictures()
    for closed in (torch.jit.script(model), torch.jit.trace(model, x)):
        with pytest.raises(ModelError, match="the network that it was scripted or traced from"):
            L2CAF(wrap(closed))(x)
    parts = nn.Sequential(model[0], torch.jit.script(model[1:]))  # type: ignore[index]
    with untouched(parts):
        attention = L2CAF(parts)(x, "top2")
    assert torch.allclose(attention.filter, L2CAF(model)(x, "top2").filter, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch warns of itself
def test_exported_programs_are_refused_unless_they_have_their_layers_back_and_take_any_batch() -> None:
    x, fixed, dynamic = networks.pictures(), exported(), exported(dynamic=True)
    for closed in (fixed, fixed.module()):
        with pytest.raises(ModelError, match=r"torch\.export\.unflatten"):
            accepted_network(closed)
    with pytest.raises(TailError, match="the network answers 3 inputs, but not the first of them alone"):
        L2CAF(torch.export.unflatten(fixed))(x)
    attention = L2CAF(torch.export.unflatten(dynamic))(x, "top2")
    assert torch.allclose(attention.filter, L2CAF(networks.gap())(x, "top2").filter, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_int8_layers_are_refused_because_no_gradient_passes_them() -> None:
    torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    model = torch.ao.quantization.quantize_dynamic(networks.gap(), {nn.Linear}, torch.qint8)
    with pytest.raises(ModelError, match="no gradient passes the int8 layer '3'"):
        L2CAF(model)(networks.pictures())
    with pytest.raises(LayerError, match=r"no layer 'trunk'.*; no gradient passes the int8 layer"):
        L2CAF(model, "trunk")(networks.pictures())


def test_a_keras_network_is_refused_with_a_module_to_put_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", ModuleType("keras"))
    keras_like = type("Functional", (nn.Module,), {"__module__": "keras.src.models.functional"})
    with pytest.raises(ModelError, match=r"nn\.ModuleDict\(\{layer\.name"):
        L2CAF(keras_like())(networks.pictures())


PICTURE = Image.fromarray(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((1, 3, 16, 16)), r"torch\.from_numpy"),
        ({"x": np.zeros((1, 3, 16, 16))}, "NumPy array of shape"),
        (PICTURE, r"a PIL image; .*l2caf\.load\(name\)\.explain"),
        ([PICTURE], "PIL image"),
        ("bird.jpg", "a file name"),
        (Path("bird.jpg"), "a file name"),
        ((networks.pictures() * 255).byte(), r"torch\.uint8, and the network wants floats"),
    ],
)
def test_pictures_that_are_no_float_tensors_are_refused_with_the_conversion(inputs: object, message: str) -> None:
    model = networks.gap()
    with untouched(model), pytest.raises(DataError, match=message):
        L2CAF(model)(inputs)


@pytest.mark.parametrize("make", [networks.gap, lambda: networks.seeded(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1)))])
def test_a_picture_without_the_axis_of_the_batch_is_named(make: object) -> None:
    with pytest.raises(LayoutError, match=r"\(3, 16, 16\)\] have no axis for the batch; pass `x\.unsqueeze\(0\)`"):
        L2CAF(make())(networks.pictures()[0])  # type: ignore[operator]


def test_an_error_of_the_network_for_its_users_inputs_is_left_as_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"expected input.* to have 3 channels, but got 5 channels"):
        L2CAF(networks.gap())(torch.zeros(2, 5, 16, 16))
    with pytest.raises(TypeError, match="conv2d"):
        L2CAF(networks.gap())([*networks.pictures()])


class Cautious(nn.Module):
    """Adds what it saw before the layer where the layer is faint."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        early = self.stem(x)
        late = self.body(early)
        if float(late.detach().abs().amax()) < 0.05:
            late = late + early[..., ::2, ::2]
        return self.head(late.mean((2, 3)))


@pytest.mark.parametrize("target", [None, "top2"])
def test_a_branch_on_values_that_only_a_filter_takes_is_named(target: str | None) -> None:
    model = networks.seeded(Cautious())
    with untouched(model), pytest.raises(TailError, match="branches on the values of its features; `fast=False`"):
        L2CAF(model, "body")(networks.pictures(), target)
    attention = L2CAF(model, "body", fast=False, solver="descent")(networks.pictures(1), target)
    assert bool(torch.isfinite(attention.loss).all())


def test_pictures_to_draw_on_are_tensors() -> None:
    attention = L2CAF(networks.gap())(networks.pictures(1))
    for picture in (PICTURE, [PICTURE], np.zeros((1, 3, 16, 16))):
        with pytest.raises(DataError, match="pil_to_tensor"):
            inspect.unwrap(Attention.overlay)(attention, picture)  # past the check of types that tests run under
