import torch
from torch import Tensor, nn

from l2caf.attention.entrance import INPUT, Entrance


class Scaled(nn.Module):
    def forward(self, numbers: Tensor, maps: Tensor, *, scale: Tensor) -> Tensor:
        return maps * scale + numbers.sum()


def test_only_the_first_floating_point_tensor_passes_through_the_input_layer() -> None:
    model, seen = Entrance(Scaled()), []
    model.input.register_forward_hook(lambda _m, args, output: seen.append(args[0]) or 2 * output)
    maps, scale = torch.rand(2, 3), torch.rand(2, 3)
    result = model(torch.tensor([1, 2]), maps, scale=scale)
    assert len(seen) == 1
    assert seen[0] is maps
    assert torch.equal(result, 2 * maps * scale + 3)
    assert INPUT in dict(model.named_modules())


def test_a_call_without_floats_goes_straight_to_the_network() -> None:
    assert torch.equal(Entrance(nn.Identity())(torch.tensor([1, 2])), torch.tensor([1, 2]))
