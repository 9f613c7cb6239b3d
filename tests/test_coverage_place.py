"""The check of `benchmarks/coverage` can fail: claims that are false are found to be."""

from collections.abc import Callable

import pytest
import torch
from benchmarks.coverage.place import Verdict, judge
from benchmarks.coverage.subject import Subject
from benchmarks.coverage.trial import Claim, where
from tests.support import networks
from torch import Tensor, nn

from l2caf.layouts import ChannelsFirst, Layout, Tokens

SIZE = (3, 40, 40)
VIT = Subject("own/vit", networks.ClassToken, (3, 32, 32))


class Registers(networks.ClassToken):
    """A row of register tokens, then the picture's 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 8, 16))
        self.place = nn.Parameter(torch.zeros(1, 72, 16))


class Leading(Layout):
    """The first 64 tokens on a grid, as if what is not of the picture came last."""

    def grid(self, features: Tensor) -> tuple[int, ...]:
        del features
        return 8, 8

    def apply(self, features: Tensor, filters: Tensor) -> Tensor:
        raise NotImplementedError

    def vectors(self, features: Tensor) -> Tensor:
        return features[:, :64]


class Channels(Leading):
    """Sixteen channels on a grid."""

    def grid(self, features: Tensor) -> tuple[int, ...]:
        del features
        return 4, 4

    def vectors(self, features: Tensor) -> Tensor:
        return features.flatten(2)


def convolved(pictures: Tensor) -> Tensor:
    """(b, 100, 8): positions of a 10 x 10 grid."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
    with torch.no_grad():
        return net(pictures).flatten(2).mT


SHUFFLED = torch.randperm(100, generator=torch.Generator().manual_seed(3))
CLAIMS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], str]] = {
    "in order": (convolved, (10, 10), "on the picture"),
    "shuffled": (lambda x: convolved(x)[:, SHUFFLED], (10, 10), "wrong"),
    "columns for rows": (lambda x: convolved(x.mT), (10, 10), "wrong"),
    "rows shuffled": (
        lambda x: convolved(x).unflatten(1, (10, 10))[:, SHUFFLED[SHUFFLED < 10]].flatten(1, 2), (10, 10), "wrong",
    ),
    "a row off": (lambda x: convolved(x).roll(10, 1), (10, 10), "wrong"),
    "a position off": (lambda x: convolved(x).roll(1, 1), (10, 10), "wrong"),
    "turned over": (lambda x: convolved(x).flip(1), (10, 10), "wrong"),
    "channels": (lambda x: convolved(x).mT[:, :4], (2, 2), "wrong"),
    "something else": (lambda x: torch.ones(len(x), 100, 8), (10, 10), "wrong"),
    "more axes than the picture": (convolved, (4, 5, 5), "wrong"),
    "all alike": (lambda x: x.mean((1, 2, 3)).view(-1, 1, 1).expand(-1, 16, 4), (4, 4), "cannot be told"),
    "not finite": (lambda x: convolved(x) / 0, (10, 10), "cannot be told"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CLAIMS))
def test_a_claim_is_judged(name: str) -> None:
    see, grid, outcome = CLAIMS[name]
    verdict = judge(see, SIZE, (1, 2), grid)
    assert verdict.outcome == outcome, verdict.why


def test_frames_in_another_order_are_found() -> None:
    def see(clips: Tensor) -> Tensor:
        return clips.mean(2).unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)).flatten(1).unsqueeze(2)

    size = (6, 3, 8, 8)
    assert judge(see, size, (0, 2, 3), (6, 4, 4)).outcome == "on the picture"
    order = [3, 0, 5, 1, 4, 2]
    assert judge(lambda clips: see(clips[:, order]), size, (0, 2, 3), (6, 4, 4)).outcome == "wrong"


def verdict_on(subject: Subject, layer: str, layout: Layout) -> Verdict:
    return where(networks.seeded(subject.build()), subject, Claim(layer, layout))


@pytest.mark.parametrize(
    ("make", "layout", "outcome"),
    [
        (networks.ClassToken, Tokens((8, 8), 1), "on the picture"),
        (Registers, Tokens((8, 8), 8), "on the picture"),
        (Registers, Leading(), "wrong"),
        (networks.ClassToken, Tokens((5, 13), 0), "wrong"),
    ],
    ids=["right", "registers", "a row of registers for the picture's first", "class token for the first"],
)
def test_a_layout_of_a_transformer_is_judged(make: type[nn.Module], layout: Layout, outcome: str) -> None:
    verdict = verdict_on(Subject("own/vit", make, VIT.size), "blocks", layout)
    assert verdict.outcome == outcome, verdict.why


def test_channels_taken_for_positions_are_found() -> None:
    subject = Subject("own/net", networks.gap, (3, 24, 24))
    assert verdict_on(subject, "0", ChannelsFirst()).outcome == "on the picture"
    assert verdict_on(VIT, "patch", Channels()).outcome == "wrong"
