import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf.errors import TailError
from l2caf.guard import intercept
from l2caf.layouts import ChannelsFirst
from l2caf.tail import Inputs, LayerCalls, Recording, Slots, record
from l2caf.tail.place import Place
from l2caf.tail.players import Player, Substitute
from l2caf.tail.script import Held


def recorded(model: nn.Module, layer: nn.Module) -> tuple[Recording, Place]:
    with torch.no_grad():
        recording = record(model, Inputs((networks.pictures(),)), LayerCalls(layer), hold=Held.copy_of)
    rows = torch.tensor([1, 2])
    return recording, Place(Slots(recording.layer, ChannelsFirst()), recording.maps, 3 * recording.maps[0][rows], rows)


def test_a_player_and_the_whole_network_give_the_same_answer() -> None:
    model = networks.seeded(networks.Between())
    recording, place = recorded(model, model.body)
    answers = []
    for player in (Player(recording, place, has_inputs=True), Substitute(recording.layer, place)):
        with torch.no_grad(), player.mode, intercept(player.modules(), player):
            answers.append(recording.inputs.map(player.input).call(model))
    assert answers[0].shape == (2, 5)
    assert torch.allclose(answers[0], answers[1], atol=1e-6)


def test_before_the_layer_a_player_runs_nothing_and_shows_shapes_only() -> None:
    model, ran = networks.gap(), []
    recording, place = recorded(model, model[0][2])  # type: ignore[index]
    model[0][0].register_forward_hook(lambda *_: ran.append(1))  # type: ignore[index]
    player = Player(recording.shapes_only(), place, has_inputs=False)
    with torch.no_grad(), player.mode, intercept(player.modules(), player):
        inputs = recording.inputs.map(player.input)
        assert inputs.args[0].is_meta
        assert inputs.args[0].shape == (2, 3, 16, 16)
        assert not inputs.call(model).is_meta
    assert not ran


class Alternating(nn.Module):
    """Takes another path at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.layer = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.is_left = True

    def forward(self, x: Tensor) -> Tensor:
        self.is_left = not self.is_left
        return self.layer((self.left if self.is_left else self.right)(x)).mean((2, 3))


def test_a_call_that_is_not_the_next_step_of_the_script_is_refused() -> None:
    model = networks.seeded(Alternating())
    recording, place = recorded(model, model.layer)
    player = Player(recording, place, has_inputs=True)
    inputs = recording.inputs.map(player.input)
    with (
        torch.no_grad(),
        player.mode,
        intercept(set(model.modules()), player),
        pytest.raises(TailError, match="the network does not take the same path twice"),
    ):
        inputs.call(model)


def test_a_value_that_was_not_kept_cannot_be_read_after_the_layer() -> None:
    model = networks.seeded(networks.Between())
    recording, place = recorded(model, model.body)
    player = Player(recording.shapes_only(), place, has_inputs=False)
    inputs = recording.inputs.map(player.input)
    with (
        torch.no_grad(),
        player.mode,
        intercept(player.modules(), player),
        pytest.raises(RuntimeError, match="meta"),
    ):
        inputs.call(model)
