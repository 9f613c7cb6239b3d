import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf.attention.locality import Survey, survey
from l2caf.attention.reach import WINDOW, reaches, with_reach
from l2caf.tail import Inputs


def survey_of(model: nn.Module, size: int = 16) -> Survey:
    return survey(model, Inputs((networks.pictures(1, size),)))


def reach_of(model: nn.Module, *, every: bool = True, size: int = 16) -> dict[str, float | None]:
    infos = with_reach(survey_of(model, size), lambda output: output, every=every)
    return {info.name + ("*" if info.is_default else ""): info.reach for info in infos}


class LeftThird(nn.Module):
    """Only some columns of the last map are read; one layer is read by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.last = nn.Conv2d(4, 4, 1)
        self.deaf = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        self.deaf(y)
        return self.last(y)[..., :2].mean((2, 3)) + y.mean((2, 3))


def test_reach_is_the_share_of_positions_that_move_the_output_and_the_default_has_at_least_half() -> None:
    assert reach_of(networks.seeded(LeftThird())) == {"first*": 1.0, "deaf": 0.0, "last": 0.25}


def test_scaling_that_a_normalisation_undoes_is_no_reach() -> None:
    reach = reach_of(networks.seeded(networks.ClassToken()), size=32)
    assert reach["blocks.0"] == reach["blocks.1"] == 0
    assert reach["blocks.1.norm1*"] == 1


def test_positions_without_features_count_where_the_output_looks_at_them() -> None:
    model = networks.gap()
    with torch.no_grad():
        model[0][1].weight.zero_()  # type: ignore[index, union-attr]
        model[0][1].bias.zero_()  # type: ignore[index, union-attr]
    assert reach_of(model)["0*"] == 1.0


def test_layers_before_the_window_are_examined_only_where_none_in_it_serves() -> None:
    pads = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(WINDOW)))
    deep = networks.seeded(nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), pads, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert "0" not in reach_of(deep, every=False)
    assert reach_of(deep)["0"] is not None


def test_a_call_that_never_happens_reaches_nothing() -> None:
    surveyed = survey_of(networks.gap())
    info = surveyed.info(surveyed.listing.calls[0])
    assert info is not None
    layer = surveyed.listing.calls[0].module
    wanted = {(layer, 0): info, (layer, 5): info}
    shares = reaches(surveyed.model, surveyed.one, lambda output: output, wanted)
    assert shares == {(layer, 0): 1.0, (layer, 5): 0.0}
