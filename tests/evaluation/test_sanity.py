"""Sanity checks of maps by re-initialising layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support import networks
from torch import Tensor, nn

from l2caf.errors import DataError
from l2caf.evaluation.sanity import ends, resettable, sanity, similarity, summary
from l2caf.experiments.figure10 import draw_figure10


def test_layers_come_from_the_logits_downwards() -> None:
    assert resettable(networks.fully_connected(), networks.pictures()) == ["1.3", "1.1", "0.0"]
    with pytest.raises(DataError, match="reset_parameters"):
        resettable(nn.Flatten(), networks.pictures())


@pytest.mark.parametrize("mode", ["cascading", "independent"])
def test_maps_are_compared_with_a_network_whose_layers_are_drawn_anew(mode: str) -> None:
    model, x = networks.fully_connected(), networks.pictures()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kept: dict[tuple[str, str, int], Tensor] = {}
    rows = sanity(
        model, x, ["l2caf", "centre"], mode=mode, seeds=(0, 1),  # type: ignore[arg-type]
        keep=lambda name, stage, seed, maps: kept.__setitem__((name, stage, seed), maps),
    )  # fmt: skip
    assert len(kept) == 2 * (1 + 2 * 3)
    assert [(row.stage, row.seed) for row in rows if row.method == "l2caf"] == [
        (layer, seed) for seed in (0, 1) for layer in ("1.3", "1.1", "0.0")
    ]
    assert all(row.rank == row.ssim == 1 for row in rows if row.method == "centre")  # it never looked at the network
    assert max(row.rank for row in rows if row.method == "l2caf") < 0.999
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if mode == "independent":
        fresh = networks.fully_connected()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            fresh[0][0].reset_parameters()
        again = sanity(model, x, ["l2caf"], mode="independent", stages={"0.0": ["0.0"]}, seeds=(1,))
        assert again[0] == next(row for row in rows if (row.method, row.stage, row.seed) == ("l2caf", "0.0", 1))


def test_similarity_of_a_map_with_itself_its_opposite_and_a_constant() -> None:
    maps = torch.arange(49.0).view(1, 7, 7)
    assert similarity(maps, maps) == pytest.approx((1, 1))
    assert similarity(maps, 48 - maps)[0] == pytest.approx(-1)
    assert similarity(maps, torch.ones(1, 7, 7))[0] == 0


def test_the_papers_two_stages_and_the_mean_over_seeds() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    stages = ends(model, x)
    assert stages == {"logits": ["1.3"], "all layers": ["1.1", "0.0"]}
    rows = sanity(model, x, ["l2caf"], stages=stages, seeds=(0, 1))
    every = sanity(model, x, ["l2caf"], seeds=(0, 1))
    assert [row.rank for row in rows if row.stage == "all layers"] == [row.rank for row in every if row.stage == "0.0"]
    (first, _) = summary(rows)
    assert first[:2] == ("l2caf", "logits")
    assert first[2] == pytest.approx(sum(row.rank for row in rows[::2]) / 2)


def test_the_figure_has_a_row_per_picture_and_a_column_per_stage_and_seed(tmp_path: Path) -> None:
    maps = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0))
    kept = {("l2caf", "", 0): maps, ("l2caf", "logits", 0): 1 - maps, ("l2caf", "logits", 1): maps}
    draw_figure10(kept, np.zeros((2, 8, 8, 3), dtype=np.uint8), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.size == (4 * 224 + 3 * 8, 24 + 2 * 224 + 8)
        pixels = np.asarray(figure.convert("RGB"))
    trained, other, again = (pixels[30:240, left : left + 224] for left in (232, 464, 696))
    assert np.array_equal(trained, again)
    assert not np.array_equal(trained, other)
