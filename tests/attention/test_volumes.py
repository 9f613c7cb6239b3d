"""Filters over t x h x w and d x h x w: three-dimensional CNNs, transformers of clips, networks of volumes."""

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.torchvision_compat import import_torchvision


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("r3d_18", (16, 32, 32), (2, 2, 2)),
        ("mc3_18", (4, 32, 32), (4, 2, 2)),
        ("swin3d_t", (8, 64, 64), (4, 2, 2)),
        pytest.param("s3d", (16, 224, 224), (2, 7, 7), marks=pytest.mark.slow),
    ],
)
def test_video_networks_have_certified_filters_over_time_and_space(
    name: str, size: tuple[int, int, int], grid: tuple[int, int, int]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(import_torchvision().models.video, name)(weights=None).eval()
    clip = torch.randn(1, 3, *size)
    caf = L2CAF(model)
    for target in (None, "top1"):
        attention = caf(clip, target)
        assert attention.grid == grid
        assert attention.question.input_size == size
        assert attention.certificate[0][0].label == "global"
        assert attention.heatmap().shape == (1, 1, *size)


class VolumeClassifier(nn.Module):
    """Two three-dimensional convolutions, pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv3d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv3d(4, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).mean((2, 3, 4)))


class UNet3d(nn.Module):
    """One level down, one up, a skip connection: (b, 1, d, h, w) to (b, 2, d, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(1, 4, 3, 1, 1), nn.ReLU())
        self.bottom = nn.Sequential(nn.Conv3d(4, 8, 3, 2, 1), nn.ReLU())
        self.up = nn.ConvTranspose3d(8, 4, 2, 2)
        self.last = nn.Conv3d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        return self.last(torch.cat([skip, self.up(self.bottom(skip))], 1))


def volumes() -> Tensor:
    """Noise with a bright block in one octant."""
    scans = 0.1 * torch.randn(2, 1, 12, 16, 16, generator=torch.Generator().manual_seed(0))
    scans[:, :, 6:, 8:, 8:] += 2
    return scans


def test_a_classifier_of_volumes_has_a_filter_over_depth_height_and_width() -> None:
    model = networks.seeded(VolumeClassifier())
    with untouched(model):
        attention = L2CAF(model)(volumes(), "top1")
    assert attention.grid == (3, 4, 4)
    assert {c.label for c in attention.certificate.flat} == {"global"}
    maps = attention.heatmap()
    assert maps.shape == (2, 1, 12, 16, 16)
    assert bool((maps[..., 6:, 8:, 8:].mean((2, 3, 4)) > maps[..., :6, :8, :8].mean((2, 3, 4))).all())


def test_a_segmentation_of_volumes_is_explained_through_its_skip_connection() -> None:
    model = networks.seeded(UNet3d())

    def of_block(output: Tensor) -> Tensor:
        return output[:, :, 6:, 8:, 8:].mean((2, 3, 4))

    with untouched(model):
        attention = L2CAF(model, "bottom", output=of_block)(volumes(), 1)
    assert attention.grid == (6, 8, 8)
    weights = attention.filter.square()[:, 0]
    assert bool((weights[:, 3:, 4:, 4:].sum((1, 2, 3)) > 0.99).all())  # nothing else reaches the block


def test_a_grid_of_thousands_is_solved_in_the_span_of_a_short_output(monkeypatch: pytest.MonkeyPatch) -> None:
    caf = L2CAF(networks.seeded(UNet3d()), output=lambda maps: maps.mean((2, 3, 4)))
    scan = torch.randn(2, 1, 20, 16, 24, generator=torch.Generator().manual_seed(0))
    large = caf(scan)  # 7680 positions: a matrix of their pairs would be solved for minutes
    assert [row[0].label for row in large.certificate] == ["global", "global"]
    small = scan[..., :8, :8, :8]
    spanned = caf(small)
    monkeypatch.setattr("l2caf.attention.formulate.SPAN_PAYS", 10_000)
    direct = caf(small)
    assert torch.allclose(spanned.loss, direct.loss, rtol=1e-5)
    assert torch.allclose(spanned.filter, direct.filter, atol=1e-5)


def test_a_grid_and_an_output_too_large_for_a_matrix_are_searched_and_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    caf = L2CAF(networks.seeded(UNet3d()), output=lambda maps: maps.mean((2, 3, 4)))
    scan = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = caf(scan)
    monkeypatch.setattr("l2caf.attention.formulate.LARGEST_MATRIX", 1)
    searched = caf(scan)
    assert (exact.evidence.solver, searched.evidence.solver) == ("exact", "quasi-newton")
    assert torch.allclose(searched.loss, exact.loss, rtol=1e-4)
