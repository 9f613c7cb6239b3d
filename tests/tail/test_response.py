import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.tail import AffineResponse, Tail, is_affine


def dense_jacobian(tail: Tail, row: int, at: Tensor) -> Tensor:
    """By torch.func, of one input, at a filter."""
    return torch.func.jacrev(lambda f: tail(f[None], torch.tensor([row]))[0])(at)


@pytest.mark.parametrize("make", [networks.gap, lambda: networks.seeded(networks.Flattening())])
def test_jacobian_pullback_and_offset_are_those_of_autograd(make: object) -> None:
    with L2CAF(make()).cut(networks.pictures()) as cut:  # type: ignore[operator]
        tail = cut.tail
        response = AffineResponse(tail)
        assert bool(is_affine(tail).all())
        cotangent = torch.randn(3, 2, tail.reference.shape[1])
        for row in range(3):
            expected = dense_jacobian(tail, row, torch.full((tail.n_positions,), 0.3))
            assert torch.allclose(response.jacobian[row], expected, atol=1e-5)
            assert torch.allclose(response.pullback(cotangent)[row], cotangent[row] @ expected, atol=1e-4)
        assert torch.allclose(response.offset + response.jacobian.sum(-1), tail.reference, atol=1e-5)


def test_global_average_pooling_is_answered_by_one_pass_the_size_of_a_1x1_convolution() -> None:
    with L2CAF(networks.gap()).cut(networks.pictures()) as cut:
        tail = cut.tail
        assert AffineResponse(tail).pooled_jacobian is not None
    with L2CAF(networks.seeded(networks.Flattening())).cut(networks.pictures()) as cut:
        tail = cut.tail
        assert AffineResponse(tail).pooled_jacobian is None


def test_each_side_of_a_tail_that_starts_with_a_relu_has_its_own_columns() -> None:
    model = networks.seeded(networks.FunctionalInPlace())
    with L2CAF(model).cut(networks.pictures()) as cut:
        tail = cut.tail
        assert not bool(is_affine(tail).any())
        for side in (1.0, -1.0):
            at = side * torch.rand(tail.n_positions)
            expected = dense_jacobian(tail, 1, at)
            assert torch.allclose(AffineResponse(tail, side).jacobian[1], expected, atol=1e-5)


class Bent(nn.Module):
    """Almost affine: an offset a million times larger than the response, and a response that is not affine."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 + self.features(x).mean((2, 3)).square()


def test_a_large_offset_does_not_hide_that_a_tail_is_bent() -> None:
    with L2CAF(networks.seeded(Bent())).cut(networks.pictures()) as cut:
        tail = cut.tail
        assert not bool(is_affine(tail).any())
