import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf.attention.probe import probe_of
from l2caf.tail import Inputs


class Means(nn.Module):
    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.stack([tensor.float().flatten(1).mean(1) for tensor in tensors], dim=1)


def test_a_probe_is_the_same_noise_whatever_the_order_and_keeps_what_is_no_picture() -> None:
    numbers = torch.tensor([[3, 5], [3, 5], [3, 5]])
    x = 0.1 * networks.pictures().abs()
    probes = [
        probe_of(Means(), Inputs((batch.half(), numbers)), lambda output: output) for batch in (x, x.flip(0), x / 2)
    ]
    for probe in probes:
        picture, kept = probe.tensors()
        assert torch.equal(kept, numbers[:1])
        assert picture.dtype == torch.half
        assert torch.equal(picture, probes[0].tensors()[0])
        assert 0 <= float(picture.min()) < 0.1
        assert 0.9 < float(picture.max()) <= 1


@pytest.mark.parametrize(
    ("values", "lowest", "highest"),
    [((0, 255), 0, 256), ((-2.1, 2.6), -4, 4), ((0, 0), 0, 1), ((-0.2, torch.nan), 0, 1)],
)
def test_noise_has_the_sign_and_the_scale_of_the_batch(
    values: tuple[float, float], lowest: float, highest: float
) -> None:
    x = torch.tensor(values, dtype=torch.float32).view(2, 1, 1, 1).expand(2, 3, 16, 16)
    (picture,) = probe_of(Means(), Inputs((x,)), lambda output: output).tensors()
    assert picture.shape == (1, 3, 16, 16)
    assert float(picture.min()) >= lowest
    assert float(picture.max()) <= highest
    assert float(picture.max() - picture.min()) > 0.9 * (highest - lowest)


def test_noise_that_the_network_has_no_finite_answer_to_is_not_used() -> None:
    x = networks.pictures().abs()
    probe = probe_of(Means(), Inputs((x,)), lambda output: (output - 5).log())
    assert torch.equal(probe.tensors()[0], x[:1])
