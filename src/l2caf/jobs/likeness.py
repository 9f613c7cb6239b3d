"""What makes a query and its matches similar, drawn: the entries of a page and the rows of a picture."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from l2caf import pictures
from l2caf.attention import L2CAF
from l2caf.data.pictures import Region, prepare, read_picture
from l2caf.models import LoadedModel, ModelCard
from l2caf.models.retrieval import Embedder
from l2caf.retrieval import pair
from l2caf.retrieval.search import Similarity
from l2caf.viz.grid import titled
from l2caf.viz.panels import Framing, panel, shown
from l2caf.viz.report import Entry, Panel

EVERYTHING: Final = "all that it says"
HEADINGS: Final = (
    "query", EVERYTHING, "what makes it like the match", "what makes it like the query", EVERYTHING, "match"
)  # fmt: skip
LOSSES: Final = (
    "of what makes alike: 1 - cosine, under filters of unit norm, so that a network's bias weighs more than in the "
    "cosine of whole pictures; of all that it says: squared distance to the whole embedding"
)

PictureRow = list[UInt8[np.ndarray, "h w 3"]]


@dataclass(frozen=True, slots=True)
class Match:
    """A picture of the gallery and its score: a cosine in [-1, 1], or a Euclidean distance."""

    file: Path
    score: float


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture as the network and as a reader sees it.

    Attributes:
        file: the picture file.
        inputs: the picture as the network takes it.
        rgb: the picture as results show it.
        region: the part of `rgb` that the network is shown, in its pixels.
    """

    file: Path
    inputs: Float[Tensor, "3 h w"]
    rgb: UInt8[np.ndarray, "height width 3"]
    region: Region

    @classmethod
    def read(cls, file: Path, card: ModelCard) -> "SeenPicture":
        """A picture from its file; raises `DataError` if it cannot be read."""
        picture = read_picture(file)
        inputs, region = prepare(picture, **card.feeding)
        small, region = shown(picture, region)
        return cls(file, inputs, np.asarray(small), region)

    def framing(self, time_s: float, *, is_guest: bool = False) -> Framing:
        """Where its maps lie; as a guest it is shown in the entry of another picture."""
        height, width = self.rgb.shape[:2]
        return Framing((width, height), self.region, time_s, self.rgb if is_guest else None)


def explained(
    asked: SeenPicture, matches: Sequence[Match], loaded: LoadedModel, layer: str | None, metric: Similarity
) -> tuple[list[Entry], list[PictureRow]]:
    """Explain a query and its matches.

    Args:
        asked: the query.
        matches: its matches, which are read.
        loaded: the network and how to feed it.
        layer: the layer to look at; None for the default layer.
        metric: the metric of the matches' scores.

    Returns:
        The entries of the page, the query first, and a row of the picture for each match, under `HEADINGS`.
    """
    others = [SeenPicture.read(match.file, loaded.card) for match in matches]
    # The raw embedding, whose tail is linear: a normalisation behind it changes no cosine.
    caf = L2CAF(loaded.model, layer, until="projection" if is_embedder(loaded) else None)
    inputs = torch.stack([picture.inputs for picture in (asked, *others)]).to(loaded.device)
    caf(inputs[:1])  # finding the layer is not part of the time of the first map
    start = time.perf_counter()
    oblivious, both = caf(inputs), pair(caf, inputs[:1], inputs[1:])
    seconds = (time.perf_counter() - start) / (1 + 3 * len(others))
    every = f"{EVERYTHING} (class-oblivious)"
    own = panel(oblivious, (0, 0), every, asked.framing(seconds))
    entries = [Entry(asked.file.name, asked.rgb, [own], "the query")]
    rows = []
    for place, (match, other) in enumerate(zip(matches, others, strict=True)):
        panels = [
            panel(both.match, (place, 0), "what makes it like the query", other.framing(seconds)),
            panel(both.query, (0, place), "what makes the query like it", asked.framing(seconds, is_guest=True)),
            panel(oblivious, (place + 1, 0), every, other.framing(seconds)),
        ]
        distance = f"distance {match.score:.4f}, " if metric == "euclidean" else ""
        note = f"match {place + 1}, {distance}cosine {float(both.similarity[0, place]):.4f}"
        entries.append(Entry(match.file.name, other.rgb, panels, note))
        rows.append(_row(asked, other, (own, *panels), match))
    return entries, rows


def is_embedder(loaded: LoadedModel) -> bool:
    """Whether a network was made to embed pictures."""
    return isinstance(loaded.model, Embedder)


def _row(asked: SeenPicture, other: SeenPicture, panels: Sequence[Panel], match: Match) -> PictureRow:
    own, on_match, on_query, every = panels
    return [
        asked.rgb,
        pictures.overlay(asked.rgb, own.heatmap),
        pictures.overlay(asked.rgb, on_query.heatmap),
        pictures.overlay(other.rgb, on_match.heatmap),
        pictures.overlay(other.rgb, every.heatmap),
        titled(other.rgb, f"{match.score:.3f}"),
    ]
