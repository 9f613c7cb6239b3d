"""A layout from outside the package: the same network, its map in another order, must give the same filters."""

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.layouts import LAYOUTS, Layout
from l2caf.methods import GradCAM


class RowsFirst(Layout):
    """(b, h, c, w)."""

    def grid(self, features: Tensor) -> tuple[int, ...]:
        return features.shape[1], features.shape[3]

    def apply(self, features: Tensor, filters: Tensor) -> Tensor:
        return features * filters.unflatten(1, self.grid(features)).unsqueeze(2)

    def vectors(self, features: Tensor) -> Tensor:
        return features.transpose(2, 3).flatten(1, 2)


SERPENTINE = torch.stack([row if i % 2 == 0 else row.flip(0) for i, row in enumerate(torch.arange(64).view(8, 8))])


class Serpentine(Layout):
    """(b, c, 64): an 8x8 grid in one row, every other line from right to left."""

    def grid(self, features: Tensor) -> tuple[int, ...]:
        return (8, 8) if features.dim() == 3 and features.shape[2] == 64 else ()

    def apply(self, features: Tensor, filters: Tensor) -> Tensor:
        return features * filters[:, SERPENTINE.flatten()].unsqueeze(1)

    def vectors(self, features: Tensor) -> Tensor:
        return features[:, :, SERPENTINE.flatten().argsort()].mT


class Ordered(nn.Module):
    """A map, reordered by a module of its own, and read back in the usual order."""

    def __init__(self, order: str, *, affine: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.layer = nn.Identity()
        self.head = nn.Conv2d(8, 6, 3, 1, 1)
        self.last = nn.Linear(6, 5)
        self.order, self.affine = order, affine

    def forward(self, x: Tensor) -> Tensor:
        maps = self.trunk(x)
        if self.order == "rows first":
            maps = self.layer(maps.transpose(1, 2)).transpose(1, 2)
        elif self.order == "serpentine":
            maps = self.layer(maps.flatten(2)[:, :, SERPENTINE.flatten()])
            maps = maps[:, :, SERPENTINE.flatten().argsort()].unflatten(2, (8, 8))
        else:
            maps = self.layer(maps)
        maps = self.head(maps)
        return self.last((maps if self.affine else maps.relu()).mean((2, 3)))


@pytest.mark.parametrize(("order", "layout"), [("rows first", RowsFirst()), ("serpentine", Serpentine())])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("target", [None, "top2"])
def test_a_layout_of_ones_own_finds_the_filters_that_the_usual_layout_finds(
    *, order: str, layout: Layout, affine: bool, target: str | None
) -> None:
    x = networks.pictures()
    usual = networks.seeded(Ordered("usual", affine=affine))
    model = networks.seeded(Ordered(order, affine=affine))
    assert torch.allclose(model(x), usual(x), atol=1e-6)
    expected = L2CAF(usual, "layer")(x, target)
    with untouched(model):
        attention = L2CAF(model, "layer", layout=layout)(x, target)
    assert attention.question.layout == type(layout).__name__
    assert (attention.certificate == expected.certificate).all()
    assert torch.allclose(attention.loss, expected.loss, rtol=1e-3)
    if affine:
        assert torch.allclose(attention.filter, expected.filter, atol=1e-4)
    expected_map = GradCAM(usual, "layer")(x, "top1").map
    assert torch.allclose(GradCAM(model, "layer", layout=layout)(x, "top1").map, expected_map, atol=1e-5)


def test_a_layout_of_ones_own_may_be_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS._things, "rows-first", RowsFirst())  # as `register` does, for this test only
    model = networks.seeded(Ordered("rows first", affine=True))
    assert L2CAF(model, "layer", layout="rows-first")(networks.pictures()).question.layout == "RowsFirst"


def test_the_default_layer_is_found_among_the_maps_that_the_layout_fits() -> None:
    model = networks.seeded(Ordered("serpentine", affine=True))
    with L2CAF(model, layout=Serpentine()).cut(networks.pictures()) as cut:
        assert cut.layer == "layer"
        assert cut.tail.grid == (8, 8)
