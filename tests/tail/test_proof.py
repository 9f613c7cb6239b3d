import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf.errors import TailError
from l2caf.guard import borrow
from l2caf.layouts import ChannelsFirst
from l2caf.tail import Inputs, Keep, LayerCalls, Slots, Tail, cut, prove_rows_apart


def cut_at(model: nn.Module, layer: str, keep: Keep | None = "shapes") -> Tail:
    slots = Slots(LayerCalls(model.get_submodule(layer)), ChannelsFirst())
    with torch.no_grad(), untouched(model), borrow(model):
        return cut(model, Inputs((networks.pictures(),)), slots, lambda output: output, keep=keep)


@pytest.mark.parametrize(
    ("make", "layer", "keep"),
    [
        (networks.gap, "0", "shapes"),
        (lambda: networks.seeded(Skip()), "body", "alive"),
        (lambda: networks.seeded(networks.Residual()), "body", "all"),  # what it held was written into
    ],
)
def test_as_little_is_kept_of_the_pass_as_the_replay_needs(make: object, layer: str, keep: Keep) -> None:
    model = make()  # type: ignore[operator]
    tail = cut_at(model, layer)
    assert tail.keep == keep
    ones = torch.ones(tail.n_inputs, tail.n_positions)
    with torch.no_grad():
        assert torch.allclose(tail(ones, tail.all_rows()), model(networks.pictures()), atol=1e-6)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.stem(x)
        return (self.body(skip) + skip).mean((2, 3))


def test_what_is_asked_for_is_the_least_that_is_kept() -> None:
    assert cut_at(networks.gap(), "0", "all").keep == "all"
    assert cut_at(networks.gap(), "0", None).keep is None


def test_a_network_that_does_not_repeat_itself_is_refused() -> None:
    with pytest.raises(TailError, match="random in eval mode"):
        cut_at(networks.seeded(networks.Noisy()), "features")


class Centred(nn.Module):
    """Subtracts the mean over the batch behind the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x).mean((2, 3))
        return y - y.mean(0)


def test_a_network_whose_answer_depends_on_the_rest_of_the_batch_is_refused() -> None:
    prove_rows_apart(cut_at(networks.gap(), "0"))
    with pytest.raises(TailError, match="with the others in the batch"):
        prove_rows_apart(cut_at(networks.seeded(Centred()), "layer"))
