import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.errors import LayerError
from l2caf.tail import Inputs, LayerCalls, record, row_axes, with_shared
from l2caf.tail.script import RowAxes, RowAxis


class Table(nn.Module):
    """Positions (p, c), the same whatever is seen."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.arange(16.0).to(x).view(16, 1).expand(16, 8).sin()


class Memory(nn.Module):
    """What runs before the layer and is read after it: a table, a sequence-first memory, windows, window by window."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.memory, self.windows = Table(), nn.Conv2d(3, 8, 8, 8), nn.Conv2d(3, 8, 4, 4)
        self.first, self.folded = nn.Identity(), nn.Identity()
        self.layer = nn.Conv2d(3, 8, 4, 4)
        self.attention, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, table = len(x), self.table(x)
        memory = self.first(self.memory(x).flatten(2).permute(2, 0, 1))  # (4, b, 8)
        windows = self.windows(x).unfold(2, 2, 2).unfold(3, 2, 2).permute(2, 3, 0, 1, 4, 5)
        windows = self.folded(windows.flatten(0, 2))  # (4 b, 8, 2, 2), inputs minor
        tokens = self.layer(x).flatten(2).permute(2, 0, 1) + table[:, None]
        seen = self.attention(tokens, memory, memory)[0].mean(0)
        return self.head(seen + windows.mean((2, 3)).unflatten(0, (4, b)).square().sum(0))


def axes_at(model: nn.Module, layer: nn.Module) -> tuple[tuple[RowAxes, ...], ...]:
    return row_axes(model, record(model, Inputs((networks.pictures(1),)), LayerCalls(layer)))


def test_the_axes_of_the_batch_are_those_that_grow_with_it_and_the_order_is_what_changes_with_an_input() -> None:
    model = networks.seeded(Memory())
    rows = axes_at(model, model.layer)
    table, memory, windows, first, folded = ((),), (FIRST,), (FIRST,), ((RowAxis(1),),), ((RowAxis(0, is_minor=True),),)
    assert rows == ((), table, memory, first, windows, folded, ())


FIRST = (RowAxis(0),)


@pytest.mark.parametrize("b", [1, 4])  # 4 is also the length of the memory, and 16 a multiple of it
def test_filters_of_one_input_do_as_in_the_whole_network_whatever_was_recorded_alongside(b: int) -> None:
    model, x = networks.seeded(Memory()), networks.pictures(b)
    filters, rows = torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([b - 1, 0, b - 1])
    with untouched(model), L2CAF(model, "layer").cut(x) as cut, torch.no_grad():
        assert cut.tail.keep == "alive"
        answers = cut.tail(filters, rows)
    for answer, one, row in zip(answers, filters, rows, strict=True):
        handle = model.layer.register_forward_hook(lambda *args, one=one: args[2] * one.view(4, 4))
        with torch.no_grad():
            assert torch.allclose(answer, model(x[row : row + 1])[0], atol=1e-5)
        handle.remove()


class Captions(nn.Module):
    """How near pictures are to texts: (b, texts)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 8)
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())

    def forward(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.trunk(x).mean((2, 3)) @ self.words(ids).mean(1).T


@pytest.mark.parametrize(("b", "texts"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_texts_belong_to_the_whole_batch_where_each_picture_is_compared_with_all_of_them(b: int, texts: int) -> None:
    model, x = networks.seeded(Captions()), networks.pictures(b)
    ids = torch.arange(4 * texts).view(texts, 4) % 10
    with torch.no_grad():
        inputs = with_shared(model, Inputs((ids, x)), lambda output: output)
    assert inputs.has_rows() == inputs.first().has_rows() == [False, True]
    with untouched(model):
        attention = L2CAF(model, "trunk")({"ids": ids, "x": x}, None if texts == 1 else "top2")
    assert attention.output.shape == (b, texts)
    assert bool((attention.loss <= attention.uniform_loss + 1e-6).all())


class Paired(nn.Module):
    """One text for each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Captions()

    def forward(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.inner.trunk(x).mean((2, 3)) * self.inner.words(ids).mean(1)


def test_texts_go_with_their_pictures_where_each_picture_has_its_own() -> None:
    model, ids = networks.seeded(Paired()), torch.arange(8).view(2, 4)
    inputs = with_shared(model, Inputs((ids, networks.pictures(2))), lambda output: output)
    assert inputs.has_rows() == [True, True]
    assert [len(tensor) for tensor in inputs.first().tensors()] == [1, 1]


def test_a_map_that_does_not_grow_with_the_batch_is_refused() -> None:
    model = networks.seeded(Memory())
    with pytest.raises(LayerError, match="its map is shared by the batch"):
        axes_at(model, model.table)


class Single(nn.Module):
    """A network that takes one picture only."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 8, 3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x).view(1, 8, 16).mean(2)


def test_of_a_network_that_takes_no_two_inputs_nothing_is_known() -> None:
    model = networks.seeded(Single())
    assert axes_at(model, model.trunk) == ()
