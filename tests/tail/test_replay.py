import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.errors import TailError
from l2caf.layouts import ChannelsFirst
from l2caf.tail import Inputs, Keep, LayerCalls, Slots, Tail, cut


def tail_of(model: nn.Module, layer: str, keep: Keep | None = "shapes", memory: int | None = None) -> Tail:
    slots = Slots(LayerCalls(model.get_submodule(layer)), ChannelsFirst())
    with torch.no_grad():
        return cut(model, Inputs((networks.pictures(),)), slots, lambda output: output, keep=keep, memory=memory)


def by_hand(model: nn.Module, layer: str, filters: Tensor, rows: Tensor) -> Tensor:
    """The whole network, with a hook on the layer."""

    def multiply(_m: nn.Module, _i: object, output: Tensor) -> Tensor:
        return output * filters.view(len(rows), 1, *output.shape[2:])

    handle = model.get_submodule(layer).register_forward_hook(multiply)
    try:
        with torch.no_grad():
            return model(networks.pictures()[rows])
    finally:
        handle.remove()


NETWORKS = [
    (networks.gap, "0.0"),
    (networks.fully_connected, "0"),
    (lambda: networks.seeded(networks.FunctionalInPlace()), "features"),
    (lambda: networks.seeded(networks.Residual()), "body"),
    (lambda: networks.seeded(networks.Between()), "body"),
]


@pytest.mark.parametrize(("make", "layer"), NETWORKS)
@pytest.mark.parametrize("keep", ["shapes", "all", None])
@pytest.mark.parametrize("memory", [None, 1])
def test_a_tail_answers_filters_as_the_whole_network_does(
    make: object, layer: str, keep: Keep | None, memory: int | None
) -> None:
    model = make()  # type: ignore[operator]
    tail = tail_of(model, layer, keep, memory)
    rows = torch.tensor([2, 0, 0, 1, 2])
    filters = torch.randn(5, tail.n_positions)
    before = tail.n_passes
    with torch.no_grad(), untouched(model):
        answers = tail(filters, rows)
    assert tail.n_passes - before == 5
    assert torch.allclose(answers, by_hand(model, layer, filters, rows), atol=1e-5)


def test_the_answer_to_a_constant_filter_is_computed_once() -> None:
    model = networks.gap()
    tail = tail_of(model, "0")
    half = tail.constant(0.5)
    passes = tail.n_passes
    assert tail.constant(0.5) is half
    assert tail.constant(1.0) is tail.reference
    assert tail.n_passes == passes
    assert torch.allclose(half, by_hand(model, "0", torch.full((3, 64), 0.5), torch.arange(3)), atol=1e-6)


def test_the_memory_budget_says_how_many_rows_run_at_once_and_one_always_does() -> None:
    row = 8 * 8 * 8 * 4  # bytes of one map in float32
    assert tail_of(networks.gap(), "0", memory=2 * row).rows_at_once == 2
    assert tail_of(networks.gap(), "0", memory=1).rows_at_once == 1
    assert tail_of(networks.gap(), "0").rows_at_once % 3 == 0  # whole batches


def test_gradients_flow_through_a_tail_to_the_filters() -> None:
    model = networks.fully_connected()
    tail = tail_of(model, "0")
    filters = torch.rand(3, tail.n_positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(tail(filters, tail.all_rows()).sum(), filters)
    step = torch.zeros_like(filters)
    step[1, 5] = 1e-2
    with torch.no_grad():
        slope = (tail(filters + step, tail.all_rows()) - tail(filters - step, tail.all_rows())).sum() / 2e-2
    assert torch.allclose(gradient[1, 5], slope, rtol=1e-2)


def test_a_half_precision_network_replayed_in_single_precision_keeps_its_weights() -> None:
    model = networks.gap().half()
    slots = Slots(LayerCalls(model[0]), ChannelsFirst())  # type: ignore[index]
    with torch.no_grad(), untouched(model):
        tail = cut(model, Inputs((networks.pictures().half(),)), slots, lambda output: output)
        wide = tail.in_float32()
    assert wide.is_widened
    assert not tail.is_widened
    assert wide.reference.dtype == torch.float32
    assert torch.allclose(wide.reference, tail.reference.float(), atol=1e-2)


class Sizes(nn.Module):
    """A Python list with an entry for each picture, as detectors keep their pictures' sizes."""

    def forward(self, x: Tensor) -> list[int]:
        return [x.shape[2]] * len(x)


class CountsFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sizes = Sizes()
        self.trunk = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        sizes = self.sizes(x)
        y = self.trunk(x)
        return torch.stack([y[i].mean((1, 2)) / size for i, size in enumerate(sizes)])


def test_a_network_that_counts_its_inputs_before_the_layer_is_refused_with_the_reason() -> None:
    model = CountsFirst().eval()
    with pytest.raises(TailError, match="replaying 3 filtered maps gave 2 outputs: the network counts its inputs"):
        L2CAF(model, "trunk")(networks.pictures(2))
