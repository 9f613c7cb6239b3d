"""Measure where space is in feature maps: draw parts of the picture anew, and look which positions move.

Shapes propose layouts (`l2caf.layouts.propose`), responses decide between them (`following`, `tokens`). One input is
passed once as it is and twice for every axis that may be space, with one half drawn anew, then the other; where that
leaves a map in doubt, as often again; 10 passes at most. Nothing is assumed of the network but that a part of the
picture changes the features of its own place more than it changes the others. That holds for trained and for random
weights, for convolutions and for attention.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from l2caf.attention.discovery import Candidate, FoundCall, LayerInfo, Listing, list_calls
from l2caf.attention.following import BARELY, Following, Locality, Ratios, Verdict, following, log_ratios
from l2caf.attention.frames import sees_volumes
from l2caf.attention.responses import Axis, Moves, Responses, half_drawn_anew, positions
from l2caf.attention.tokens import Arrangement, arrangements
from l2caf.errors import LayoutError
from l2caf.guard import intercept
from l2caf.layouts import Layout, LayoutChoice, Proposal, Row, Space, given_layout, given_proposals, proposals, spaces
from l2caf.tail import Inputs

MAX_PASSES: Final = 10  # of one input, the unchanged one included
DRAW_SEED: Final = 20071231  # any fixed number
CONTRADICTED: Final = -3.0  # deviations below chance at which even a convolution's positions are elsewhere
IN_DOUBT: Final = 2.0  # deviations above chance from which another draw may decide
POOLED: Final = 16  # maps with rows of one length in which a grid is sought together


@dataclass(frozen=True, slots=True)
class Measured:
    """One layout of one map, measured.

    Attributes:
        layout: the layout.
        space: which axes of the inputs its grid lies on.
        following: how well it follows the picture.
        tries: how many layouts were looked at to find this one.
        least: the area under the curve that each axis must have, beside being no chance.
        is_certain: whether the shape alone makes it certain: a convolution's.
        is_dark: whether nothing could move: the features are zero, or the network refused every changed input.
    """

    layout: Layout
    space: Space
    following: Following
    tries: int = 1
    least: float = BARELY
    is_certain: bool = False
    is_dark: bool = False

    @property
    def follows(self) -> bool:
        """Whether the positions follow the picture."""
        return self.following.passes(self.tries, self.least)

    @property
    def locality(self) -> Locality:
        """What was measured."""
        is_open = self.is_certain and (self.is_dark or (self.following.moves and self.following.total > CONTRADICTED))
        verdict = Verdict.FOLLOWS if self.follows else Verdict.UNTOLD if is_open else Verdict.ELSEWHERE
        return Locality(*self.following.locality, verdict)


@dataclass(eq=False)
class Survey:
    """The maps of a network, measured as far as they are asked for.

    Attributes:
        model: a borrowed network.
        one: one input (a batch of one).
        listing: what the network returned for it.
        spaces: what may be space in it.
        draws: how often the halves were drawn anew.
    """

    model: nn.Module
    one: Inputs
    listing: Listing
    spaces: Sequence[Space]
    draws: int = 0
    _responses: dict[Candidate, Responses] = field(default_factory=dict)
    _arrangements: dict[Row, list[Arrangement]] = field(default_factory=dict)
    _matches: dict[Candidate, Measured | None] = field(default_factory=dict)

    @property
    def axes(self) -> list[Axis]:
        """The axes of the inputs that are measured, as many as the passes allow."""
        axes = [
            (space.part, axis)
            for space in self.spaces
            for axis, size in zip(space.axes, space.sizes, strict=True)
            if size > 1
        ]
        return list(dict.fromkeys(axes))[: (MAX_PASSES - 1) // 2]

    @property
    def can_draw(self) -> bool:
        """Whether the passes allow another draw."""
        return 1 + 2 * len(self.axes) * (self.draws + 1) <= MAX_PASSES

    def draw(self) -> None:
        """Draw the halves of every axis anew, and note how far all maps move."""
        generator = torch.Generator().manual_seed(DRAW_SEED + self.draws)
        runs = {(call.module, call.number): call for call in self.listing.calls}
        for axis in self.axes:
            for half in range(2):
                changed = half_drawn_anew(self.one, axis, half, generator)
                watch = Moves(runs, self._responses, axis, half)
                with (
                    suppress(Exception),  # a network may refuse such a picture with whatever it likes: nothing is seen
                    torch.no_grad(),
                    intercept({module for module, _ in runs}, watch),
                ):
                    changed.call(self.model)
        self.draws += 1
        self._arrangements.clear()
        self._matches.clear()

    def info(self, call: FoundCall) -> LayerInfo | None:
        """What is known of a call: of the tensor that it returned and that follows the picture best."""
        matches = [(one, match) for one in call.candidates if (match := self._match(one)) is not None]
        if not matches:
            return None
        ranks = list(Verdict)
        candidate, match = min(matches, key=lambda one: ranks.index(one[1].locality.verdict))
        return LayerInfo(
            name=call.name,
            kind=type(call.module).__name__,
            call=call.number,
            part=candidate.part,
            shape=candidate.shape[1:],
            grid=_grid(match.layout, candidate.shape),
            layout=match.layout,
            space=match.space,
            locality=match.locality,
            hands_on=candidate.hands_on,
        )

    def is_in_doubt(self, call: FoundCall) -> bool:
        """Whether another draw may find that a call's map follows the picture."""
        matches = [match for one in call.candidates if (match := self._match(one)) is not None]
        return not any(one.follows for one in matches) and any(
            one.is_certain or one.following.total > IN_DOUBT for one in matches
        )

    def _match(self, candidate: Candidate) -> Measured | None:
        """A tensor's layout: one that follows the picture, or else a convolution's, or else the likeliest."""
        if candidate not in self._matches:
            self._matches[candidate] = max(self._tried(candidate), key=_rank, default=None)
        return self._matches[candidate]

    def _tried(self, candidate: Candidate) -> Iterator[Measured]:
        """Its layouts, up to the first whose axes follow; of grids in a row, which may follow in part, all."""
        for proposed in candidate.proposed:
            ratios = self._ratios(candidate, proposed)
            if isinstance(proposed, Row):
                for one in self._arranged(proposed):
                    yield Measured(one.layout, proposed.space, one.following(ratios), one.tries, one.least)
                continue
            is_certain = self.listing.is_convolution(proposed.layout, candidate.shape)
            is_dark = not ratios or not any(bool(one.any()) for one in candidate.features.values())
            statistic = following(ratios, _grid(proposed.layout, candidate.shape))
            match = Measured(proposed.layout, proposed.space, statistic, is_certain=is_certain, is_dark=is_dark)
            yield match
            if match.follows and len(proposed.space.sizes) > 1:
                return

    def _arranged(self, row: Row) -> list[Arrangement]:
        """The grids that rows of one length may hold, sought in several of the network's maps together."""
        if row not in self._arrangements:
            alike = [one for call in self.listing.calls for one in call.candidates if row in one.proposed]
            step = -(-len(alike) // POOLED)
            ratios = [self._ratios(one, row) for one in alike[::-step]]
            self._arrangements[row] = arrangements(row, ratios)
        return self._arrangements[row]

    def _ratios(self, candidate: Candidate, proposed: Proposal | Row) -> dict[int, Ratios]:
        """Log ratios of the responses of every position, or of every token of a row, by axis of the grid."""
        responses = self._responses.get(candidate, {})
        ratios = {}
        for number, axis in enumerate(proposed.space.axes):
            halves = responses.get((proposed.channels, (proposed.space.part, axis)))
            if halves is not None and len(halves[0]) == len(halves[1]):
                first, second = (np.stack([positions(proposed, one) for one in half]) for half in halves)
                ratios[number] = log_ratios(first, second)
        return ratios


def survey(model: nn.Module, one: Inputs, layout: LayoutChoice = "auto", *, of: nn.Module | None = None) -> Survey:
    """What a network's layers return for one input, measured once.

    Args:
        model: a borrowed network.
        one: one input (a batch of one).
        layout: what the user says of where space is in the maps.
        of: the layer that is wanted; None for all.

    Returns:
        The survey.

    Raises:
        LayoutError: if no tensor of the input may be a picture.
    """
    found = _spaces(model, one)
    given = given_layout(layout)

    def propose(features: Tensor) -> Sequence[Proposal | Row]:
        if given is None:
            return list(proposals(features.shape, found))
        said = given(features)
        return [] if said is None else given_proposals(said, features, found)

    surveyed = Survey(model, one, list_calls(model, one, propose, of=of), found)
    surveyed.draw()
    return surveyed


def _spaces(model: nn.Module, one: Inputs) -> list[Space]:
    """What may be space in an input; of several tensors of one shape the first stands for all."""
    tensors, numbers = one.tensors(), one.pictures()
    if not numbers:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise LayoutError(f"inputs of shapes {shapes} have no spatial axes; expected floats (b, c, ...)")
    first = {tensors[number].shape: number for number in reversed(numbers)}
    is_volume = sees_volumes(model)
    return [space for shape, number in reversed(first.items()) for space in spaces(number, shape, is_volume=is_volume)]


def nothing_follows(survey: Survey) -> str:
    """The sentence about a network none of whose layers can be explained: what was tried, and what to do.

    Args:
        survey: the calls, all of them measured.

    Returns:
        The sentence.
    """
    infos = [info for call in survey.listing.calls if (info := survey.info(call)) is not None]
    following = sum(info.locality.verdict is Verdict.FOLLOWS for info in infos)
    inputs = [tuple(survey.one.tensors()[space.part].shape[1:]) for space in survey.spaces]
    seen = (
        f"parts of the input {' and '.join(map(str, dict.fromkeys(inputs)))} were drawn anew, and {following} of "
        f"{len(infos)} feature maps moved where it changed"
    )
    return (
        "no layer of this network has a spatial grid of more than one position that follows the picture and reaches "
        f"the output, so there is nothing to look at: {seen}; name a layer with `layer=` (`l2caf layers` lists them "
        "all with the reason), or say `layer='input'` where the input already is a feature map"
    )


def _rank(match: Measured) -> tuple[float, bool]:
    """How much speaks for a layout of a map."""
    return match.following.total if match.follows else -math.inf, match.is_certain


def _grid(layout: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(layout.grid(torch.empty(shape, device="meta")))
