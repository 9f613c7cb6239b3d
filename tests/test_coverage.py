"""A sample of the architectures of `benchmarks/coverage.py`, under default settings."""

from functools import partial

import pytest
import torch
from benchmarks.coverage import Subject, try_one
from torch import Tensor, nn

from l2caf.torchvision_compat import import_torchvision

# Smallest members of families that differ in what makes them hard; timm's `test_*` are its own miniatures.
TIMM = {
    "test_resnet": 160, "test_vit": 160, "test_convnext": 160, "test_efficientnet": 160, "test_nfnet": 160,
    "test_mambaout": 160, "test_byobnet": 160, "levit_128s": 224, "xcit_nano_12_p16_224": 224, "pvt_v2_b0": 224,
    "mobilevit_xxs": 256, "swin_tiny_patch4_window7_224": 224, "mixer_s32_224": 224, "densenet121": 224,
}  # fmt: skip


@pytest.mark.parametrize("name", list(TIMM))
def test_a_timm_network_is_explained_without_configuration(name: str) -> None:
    import_torchvision()
    import timm  # noqa: PLC0415

    row = try_one(Subject(f"timm/{name}", partial(timm.create_model, name), (3, TIMM[name], TIMM[name])))
    assert row.ok, row.reason


class Scan(nn.Module):
    """A classifier of volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 6, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv3d(6, 8, 3, 2, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3, 4)))


class Signal(nn.Module):
    """A classifier of sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(2, 6, 5, 2, 2), nn.ReLU(), nn.Conv1d(6, 8, 5, 2, 2))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(2))


class UNet(nn.Module):
    """Pictures in, pictures out, over a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 1, 1)
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x).relu()
        return self.last(torch.cat([skip, self.up(self.bottom(skip))], 1))


@pytest.mark.parametrize(
    ("make", "size"),
    [(Scan, (1, 12, 20, 20)), (Signal, (2, 64)), (UNet, (3, 24, 32))],
    ids=["volume", "signal", "U-Net"],
)
def test_volumes_signals_and_picture_to_picture_networks_are_explained(
    make: type[nn.Module], size: tuple[int, ...]
) -> None:
    row = try_one(Subject("own/network", make, size))
    assert row.ok, row.reason
    assert len(row.layout) > 0
