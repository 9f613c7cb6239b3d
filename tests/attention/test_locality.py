"""Where space is, measured: in layouts that no shape gives away, and in maps that only look like a picture's."""

from collections.abc import Callable

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF, Certificate
from l2caf.attention.following import Verdict
from l2caf.attention.locality import MAX_PASSES, survey
from l2caf.errors import LayerError, LayoutError, LocalityWarning
from l2caf.layouts import Axes, ChannelsFirst, ChannelsLast, Frames, Layout, Tokens, WindowRows, Windows
from l2caf.tail import Inputs

PATCH = 8
GRID = (4, 6)  # of pictures of 32 x 48
Change = Callable[[Tensor], Tensor]


class Named(nn.Module):
    """A layer that returns what a function makes of its input."""

    def __init__(self, function: Change) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return 1.5 * self.function(x)  # a map of its own


class Planted(nn.Module):
    """Patches in a layout of one's own, read back into channels first, pooled and classified."""

    def __init__(self, there: Change, back: Change) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, PATCH, PATCH)
        self.map = Named(there)
        self.back = back
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.back(self.map(self.patches(x))).mean((2, 3)))


def with_others(x: Tensor, before: int, behind: int) -> Tensor:
    """Tokens between others that know the whole picture."""
    row = x.flatten(2).transpose(1, 2)
    mean = row.mean(1, keepdim=True)
    return torch.cat([mean.expand(-1, before, -1), row, mean.expand(-1, behind, -1) ** 2], dim=1)


def windows(x: Tensor) -> Tensor:
    """As Swin's own code cuts them, 2 x 2, after a roll by one."""
    b, c, h, w = x.shape
    rolled = x.permute(0, 2, 3, 1).roll((-1, -1), (1, 2))
    return rolled.view(b, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)


def from_windows(x: Tensor) -> Tensor:
    cut = x.view(-1, GRID[0] // 2, GRID[1] // 2, 2, 2, x.shape[2])
    return cut.transpose(2, 3).reshape(-1, *GRID, x.shape[2]).roll((1, 1), (1, 2)).permute(0, 3, 1, 2)


def from_row(x: Tensor, before: int = 0) -> Tensor:
    return x[:, before : before + 24].transpose(1, 2).unflatten(2, GRID)


PLANTED: list[tuple[Layout, Change, Change]] = [
    (ChannelsFirst(), lambda x: x, lambda x: x),
    (ChannelsLast(), lambda x: x.movedim(1, 3), lambda x: x.movedim(3, 1)),
    (Axes((1, 3), 2), lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2)),
    (Axes((3, 2), 1), lambda x: x.transpose(2, 3), lambda x: x.transpose(2, 3)),
    (Tokens(GRID, 1), lambda x: with_others(x, 1, 0), lambda x: from_row(x, 1)),
    (Tokens(GRID, 3, 25), lambda x: with_others(x, 3, 25), lambda x: from_row(x, 3)),
    (Tokens(GRID, 0, 2), lambda x: with_others(x, 0, 2), from_row),
    (
        Tokens(GRID, order=(1, 0)),
        lambda x: x.transpose(2, 3).flatten(2).transpose(1, 2),
        lambda x: x.transpose(1, 2).unflatten(2, GRID[::-1]).transpose(2, 3),
    ),
    (Tokens(GRID, is_channels_first=True), lambda x: x.flatten(2), lambda x: x.unflatten(2, GRID)),
    (Windows(WindowRows(GRID, (2, 2), (1, 1))), windows, from_windows),
]


@pytest.mark.parametrize(("layout", "there", "back"), PLANTED, ids=[one[0].name for one in PLANTED])
def test_a_layout_is_found_however_a_network_keeps_its_map(layout: Layout, there: Change, back: Change) -> None:
    model = networks.seeded(Planted(there, back))
    pictures = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with untouched(model):
        plain = L2CAF(model, "patches")(pictures, "top2")
        planted = L2CAF(model, "map")(pictures, "top2")
        assert L2CAF(model)(pictures).question.layer == "map"
    assert planted.question.layout == layout.name
    assert planted.question.input_size == (32, 48)
    assert planted.evidence.locality.verdict is Verdict.FOLLOWS
    assert planted.evidence.locality.score > planted.evidence.locality.chance
    assert torch.allclose(planted.filter, plain.filter, atol=1e-5)
    assert {one.label for one in planted.certificate.flat} == {"global"}


def test_a_picture_whose_channels_come_last_is_read_and_drawn_as_it_is() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = networks.gap()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.movedim(3, 1))

    pictures = torch.rand(2, 16, 24, 3)
    attention = L2CAF(networks.seeded(Last()))(pictures)
    assert attention.question.input_size == (16, 24)
    assert attention.overlay().shape[2:] == (16, 24, 3)


class Spectrogram(nn.Module):
    """(b, t, f): a picture without a channel axis."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(1))


def test_a_spectrogram_is_a_picture_and_a_waveform_a_line() -> None:
    attention = L2CAF(networks.seeded(Spectrogram()))(torch.rand(2, 40, 24))
    assert (attention.grid, attention.question.input_size) == ((10, 6), (40, 24))
    wave = nn.Sequential(nn.Unflatten(1, (1, 64)), nn.Conv1d(1, 4, 4, 4), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    attention = L2CAF(networks.seeded(wave))(torch.rand(2, 64))
    assert (attention.grid, attention.question.input_size) == ((16,), (64,))


class TwoParts(nn.Module):
    """A picture and a text: the last layer sees the text first, then the picture, then something of neither."""

    def __init__(self, queries: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, PATCH, PATCH)
        self.words = nn.Embedding(50, 8)
        self.row = Named(lambda x: x)
        self.queries = nn.Parameter(torch.randn(1, queries, 8))
        self.read = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, ids: Tensor, hints: Tensor, picture: Tensor) -> Tensor:
        words = self.words(ids) + hints.mean((1, 2))[:, None, None]
        row = self.row(torch.cat([words, self.patches(picture).flatten(2).transpose(1, 2)], dim=1))
        asked = self.queries.expand(len(row), -1, -1)
        answers = self.read(asked, row, row)[0]
        return self.head(answers).mean(1)


def test_of_several_inputs_the_picture_is_the_one_that_positions_follow() -> None:
    model = networks.seeded(TwoParts(24))  # as many queries as patches
    inputs = {"ids": torch.randint(50, (2, 5)), "hints": torch.rand(2, 7, 9), "picture": torch.rand(2, 3, 32, 48)}
    with untouched(model):
        attention = L2CAF(model)(inputs)
    assert (attention.question.layer, attention.question.layout) == ("row", "tokens 4x6, 5 prefix")
    assert attention.question.input_size == (32, 48)
    assert attention.inputs is inputs["picture"]


class Clips(nn.Module):
    """(b, t, c, h, w) or (b, c, t, h, w): tubes of two frames in a row, all instants of a place side by side."""

    def __init__(self, *, is_volume: bool) -> None:
        super().__init__()
        self.is_volume = is_volume
        self.tubes = nn.Conv3d(3, 8, (2, PATCH, PATCH), (2, PATCH, PATCH))
        self.row = Named(lambda x: x.permute(0, 3, 4, 2, 1).flatten(1, 3))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.row(self.tubes(x if self.is_volume else x.transpose(1, 2))).mean(1))


@pytest.mark.parametrize("is_volume", [True, False])
def test_time_is_the_axis_that_positions_follow_in_time(is_volume: bool) -> None:  # noqa: FBT001
    model = networks.seeded(Clips(is_volume=is_volume))
    clip = torch.rand(1, 8, 3, 32, 32)
    attention = L2CAF(model)(clip.transpose(1, 2) if is_volume else clip)
    assert attention.question.layout == "tokens 4x4x4, 0 prefix, order 1 2 0"
    assert attention.question.input_size == (8, 32, 32)
    plain = L2CAF(model, "tubes")(clip.transpose(1, 2) if is_volume else clip)
    assert torch.allclose(attention.filter, plain.filter, atol=1e-5)


def test_frames_folded_into_the_batch_with_tokens_are_measured_too() -> None:
    class FramesOfTokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, PATCH, PATCH)
            self.row = Named(lambda x: with_others(x, 2, 0))
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.row(self.patches(x.flatten(0, 1)))[:, 2:]
            return self.head(rows.mean(1).unflatten(0, x.shape[:2]).mean(1))

    attention = L2CAF(networks.seeded(FramesOfTokens()))(torch.rand(2, 3, 3, 32, 48))
    assert attention.question.layout == Frames(Tokens(GRID, 2), 3).frame.name
    assert attention.question.runs == (0, 1, 2)
    assert attention.filter.shape == (2, 3, 1, *GRID)


class Overlapping(nn.Module):
    """Tokens of a spectrogram (b, t, f) as the Audio Spectrogram Transformer cuts them: frequency by frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 16, 10)
        self.row = Named(lambda x: with_others(x, 2, 0))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.row(self.patches(x.unsqueeze(1).mT))[:, 2:].mean(1))


def test_overlapping_patches_of_a_spectrogram_are_a_grid_of_time_and_frequency() -> None:
    attention = L2CAF(networks.seeded(Overlapping()))(torch.rand(1, 128, 64))
    assert (attention.question.layer, attention.grid) == ("row", (12, 5))
    assert attention.question.layout == "tokens 12x5, 2 prefix, order 1 0"
    assert attention.question.input_size == (128, 64)


class Views(nn.Module):
    """Several pictures (b, n, c, h, w) in one row of tokens, before some of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, PATCH, PATCH)
        self.row = Named(lambda x: with_others(x, 1, 20))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        views = self.patches(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.head(self.row(views.transpose(1, 2).flatten(2))[:, 1:-20].mean(1))


def test_several_pictures_in_one_row_are_a_grid_with_an_axis_more() -> None:
    attention = L2CAF(networks.seeded(Views()))(torch.rand(1, 4, 3, 32, 48))
    assert (attention.question.layer, attention.question.layout) == ("row", "tokens 4x4x6, 1 prefix, 20 suffix")
    assert attention.question.input_size == (4, 32, 48)


class Pooled(nn.Module):
    """A convolution, and 64 pooled channels that look like 8 x 8 tokens, and a gate on them."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 64, 4, 4), nn.ReLU())
        self.pooled = Named(lambda x: x.mean((2, 3)).unsqueeze(2))
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(self.trunk(x)).squeeze(2))


def test_channels_that_look_like_tokens_are_no_candidate_and_named_they_are_proven_of_nothing() -> None:
    model, pictures = networks.seeded(Pooled()), torch.rand(2, 3, 32, 32)
    assert L2CAF(model)(pictures).question.layer == "trunk"
    verdicts = {info.name: info.locality.verdict for info in L2CAF(model).layers(pictures)}
    assert verdicts["pooled"] is Verdict.ELSEWHERE
    with pytest.warns(LocalityWarning, match="layer 'pooled' .* is no map of the picture: elsewhere 0"):
        attention = L2CAF(model, "pooled")(pictures, "top2")
    assert set(attention.certificate.flat) == {Certificate.ELSEWHERE}
    with pytest.warns(LocalityWarning, match="channels-last"):
        attention = L2CAF(model, "trunk", layout="channels-last")(pictures)
    assert {one.label for one in attention.certificate.flat} == {"elsewhere"}


class Even(nn.Module):
    """A convolution behind a global pooling: its positions move alike wherever the picture changes."""

    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 4, 4)
        self.last = nn.Conv2d(8, 8, kernel)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(self.last(y.mean((2, 3), keepdim=True).expand(-1, -1, *y.shape[2:])).mean((2, 3)))


def test_a_convolution_whose_positions_move_evenly_is_kept_and_says_that_it_cannot_be_told() -> None:
    attention = L2CAF(networks.seeded(Even()))(torch.rand(2, 3, 32, 32))
    assert attention.question.layer == "last"
    assert attention.evidence.locality.verdict is Verdict.UNTOLD
    assert "untold" in str(attention.evidence.locality)


def test_a_network_that_mixes_all_places_still_moves_most_where_it_was_touched() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 4, 4)
            self.last = Named(lambda x: 0.1 * x + x.mean((2, 3), keepdim=True))
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.last(self.first(x)).mean((2, 3)))

    attention = L2CAF(networks.seeded(Mixing()))(torch.rand(2, 3, 32, 32))
    assert attention.question.layer == "last"
    assert attention.evidence.locality.follows


def test_where_no_layer_follows_the_picture_the_error_says_what_was_tried() -> None:
    class Sorted(nn.Module):
        """Positions in the order of their brightness: none is the same place in two pictures."""

        def __init__(self) -> None:
            super().__init__()
            self.map = Named(lambda x: x.mean(1).flatten(1).sort(1)[0].unsqueeze(2) * torch.ones(8))
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.map(x).mean(1))

    with pytest.raises(
        LayerError, match=r"follows the picture.*parts of the input \(3, 8, 8\) were drawn anew, and 0 of 1"
    ):
        L2CAF(networks.seeded(Sorted()))(torch.rand(2, 3, 8, 8))
    with pytest.raises(LayoutError, match=r"inputs of shapes \[\(1, 5\)\] have no spatial axes"):
        L2CAF(networks.seeded(Sorted()))(torch.zeros(2, 5, dtype=torch.long))


class Counting(nn.Module):
    """Counts its passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.passes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        return self.network(x)


@pytest.mark.parametrize("network", [networks.gap(), Even(), nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten())])
def test_a_measurement_takes_ten_passes_of_one_input_at_most(network: nn.Module) -> None:
    model = Counting(networks.seeded(network))
    surveyed = survey(model.eval(), Inputs((torch.rand(1, 3, 16, 16),)))
    while surveyed.can_draw:
        surveyed.draw()
    assert 5 <= len(model.passes) <= MAX_PASSES
    assert set(model.passes) == {1}


def test_it_is_measured_once_for_inputs_of_one_shape() -> None:
    trunk = Counting(nn.Conv2d(3, 8, 3, 2, 1))
    caf = L2CAF(networks.seeded(nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))))
    caf(torch.rand(2, 3, 16, 16))
    trunk.passes.clear()
    caf(torch.rand(3, 3, 16, 16))
    assert trunk.passes == [3]
