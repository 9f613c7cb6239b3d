"""One self-contained HTML page for a run of any size: its figures, and some of its maps to look through.

The caller chooses the maps. The page holds no others, so its size does not grow with the run.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf.viz.page import (
    colour_scale,
    counted,
    escaped,
    four_digits,
    heat_uri,
    jpeg_uri,
    part,
    term,
    where,
    write_page,
)

SHOWN_PX: Final = 320  # longest side of a picture
PLOT: Final = (640, 120)  # of the histogram, in its own units


@dataclass(frozen=True, slots=True)
class Card:
    """One map.

    Attributes:
        name: The name of the picture.
        picture: The RGB picture (h, w, 3).
        heatmap: The map (h, w) over the whole picture, in [0, 1], at any resolution; None if only the picture can be
            shown.
        label: The class that the map is for, or the class that the network predicts.
        loss: The figure by which maps are sorted.
        agreement: The agreement with another method, in [0, 1]; None if it was not asked for.
        groups: The lists in which the map is shown: `sample`, `loss`, `agreement`.
        facts: Names and values, in the order in which they are shown.
        note: What a reader must know about this map.
    """

    name: str
    picture: UInt8[np.ndarray, "h w 3"]
    heatmap: Float[np.ndarray, "h2 w2"] | None
    label: str
    loss: float
    agreement: float | None
    groups: Sequence[str]
    facts: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a figure is distributed.

    Attributes:
        name: The name of the figure.
        edges: The edges of the bins (n + 1,).
        counts: The number of maps in each bin (n,).
    """

    name: str
    edges: Float[np.ndarray, " n1"]
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page says about the whole run.

    Attributes:
        lede: The sentence at the top.
        settings: Names and values of the settings, in order; empty values are left out.
        counts: Names and values of the figures, in order.
        certificates: How often each certificate occurs, and the sentence that explains it.
        losses: The distribution of the losses; None if there are no losses.
        sample: A sentence on how the maps of the page were chosen.
        failures: Some of the pictures without maps, with the reason.
        n_failures: The number of all pictures without maps.
    """

    lede: str
    settings: Mapping[str, str]
    counts: Mapping[str, str]
    certificates: Mapping[str, tuple[int, str]]
    losses: Histogram | None
    sample: str
    failures: Sequence[tuple[str, str]] = field(default_factory=tuple)
    n_failures: int = 0


def write_gallery(path: Path, title: str, overview: Overview, cards: Sequence[Card]) -> None:
    """Write the page.

    Args:
        path: The HTML file to write; its folder must exist.
        title: The heading of the page.
        overview: What the page says about the whole run.
        cards: The maps to look through.

    Raises:
        StorageError: if the file cannot be written.
    """
    labels = sorted({card.label for card in cards}, key=_by_number)
    body = Template(part("gallery.html")).substitute(
        title=escaped(title),
        lede=escaped(overview.lede),
        settings="".join(term(name, escaped(value)) for name, value in overview.settings.items() if value),
        counts="".join(term(name, escaped(value)) for name, value in overview.counts.items()),
        losses="" if overview.losses is None else _histogram(overview.losses),
        certificates=_certificates(overview.certificates),
        scale=colour_scale(),
        sample=escaped(overview.sample),
        lists=_lists(cards, overview.n_failures),
        classes="".join(f'<option value="{n}">{escaped(label)}</option>' for n, label in enumerate(labels)),
        cards="\n".join(_card(number, card, labels) for number, card in enumerate(cards)),
        failures=_failures(overview.failures, overview.n_failures),
    )
    write_page(path, title, part("report.css") + part("gallery.css"), body, part("gallery.js"))


def _by_number(label: str) -> list[tuple[int, str]]:
    """Return a key that sorts `9` before `10`, wherever digits stand in a label."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", label)]


def _histogram(losses: Histogram) -> str:
    """Draw bars over an axis with its ends named, and say the same in words."""
    width, height = PLOT
    step, top = width / len(losses.counts), max(1, int(losses.counts.max()))
    bars = "".join(
        f'<rect x="{n * step + 0.5:.1f}" y="{height * (1 - count / top):.1f}" width="{step - 1:.1f}" '
        f'height="{height * count / top:.1f}"><title>{four_digits(losses.edges[n])} to '
        f"{four_digits(losses.edges[n + 1])}: {counted(int(count), 'map')}</title></rect>"
        for n, count in enumerate(losses.counts)
    )
    mode = int(losses.counts.argmax())
    ends = four_digits(losses.edges[0]), four_digits(losses.edges[-1])
    words = (
        f"{losses.name} from {ends[0]} to {ends[1]}; most between {four_digits(losses.edges[mode])} and "
        f"{four_digits(losses.edges[mode + 1])} ({counted(top, 'map')})"
    )
    return (
        f'<figure class="losses"><svg role="img" aria-label="{escaped(words)}" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none">{bars}</svg><figcaption><span>{ends[0]}</span>'
        f"<span>{escaped(losses.name)}</span><span>{ends[1]}</span></figcaption></figure>"
    )


def _certificates(certificates: Mapping[str, tuple[int, str]]) -> str:
    total = max(1, sum(count for count, _ in certificates.values()))
    return "".join(
        term(
            f"{name}: {counted(count, 'map')}",
            f'{escaped(note)}.<div class="meter" aria-hidden="true"><i style="width:{count / total:.1%}"></i></div>',
        )
        for name, (count, note) in certificates.items()
    )


def _lists(cards: Sequence[Card], n_failures: int) -> str:
    """Return one choice for each list that is not empty."""
    named = {"all": "All shown", "loss": "Largest loss", "agreement": "Lowest agreement", "errors": "Errors"}
    sizes = {name: sum(name in card.groups for card in cards) for name in named} | {
        "all": len(cards), "errors": n_failures
    }  # fmt: skip
    return "".join(
        f'<label><input type="radio" name="list" value="{name}"{" checked" if name == "all" else ""}>'
        f"<span>{words} <b>{sizes[name]:,}</b></span></label>"
        for name, words in named.items()
        if sizes[name]
    )


def _card(number: int, card: Card, labels: Sequence[str]) -> str:
    image = Image.fromarray(card.picture)
    image.thumbnail((SHOWN_PX, SHOWN_PX))
    agreement = "" if card.agreement is None else f' data-agreement="{card.agreement:.6g}"'
    facts = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in card.facts.items())
    note = f'<p class="note">{escaped(card.note)}</p>' if card.note else ""
    return (
        f'<article class="card" id="c{number}" data-label="{labels.index(card.label)}" data-loss="{card.loss:.9g}"'
        f'{agreement} data-lists="all {" ".join(card.groups)}" aria-labelledby="n{number}">'
        f"{_stage(card, image)}<h3 id='n{number}'><bdi>{escaped(card.name)}</bdi></h3>"
        f"<p class='label'><bdi>{escaped(card.label)}</bdi></p><dl>{facts}</dl>{note}</article>"
    )


def _stage(card: Card, image: Image.Image) -> str:
    name, size = escaped(card.name), f'width="{image.width}" height="{image.height}"'
    photo = f'<img class="photo" src="{jpeg_uri(image)}" {size} alt="Picture {name}">'
    if card.heatmap is None:
        return f'<div class="stage">{photo}</div>'
    heat = np.clip(np.nan_to_num(card.heatmap), 0, 1)
    return (
        f'<div class="stage">{photo}<img class="heat" src="{heat_uri(heat)}" {size} alt="Map: {where(heat)}">'
        '<i class="edge"></i></div>'
        f'<label class="wipe"><span>picture</span><input type="range" min="0" max="100" step="5" value="100" '
        f'aria-label="From picture to map, {name}" aria-valuetext="100 % map"><span>map</span></label>'
    )


def _failures(failures: Sequence[tuple[str, str]], n_failures: int) -> str:
    if not n_failures:
        return ""
    rows = "".join(
        f"<tr><td><bdi>{escaped(name)}</bdi></td><td><bdi>{escaped(reason)}</bdi></td></tr>"
        for name, reason in failures
    )
    shown = "" if len(failures) == n_failures else f" The first {len(failures):,} are listed; errors.parquet has all."
    return (
        f'<section id="errors" class="failures" data-count="{n_failures}" aria-labelledby="errors-h">'
        f'<h2 id="errors-h">Errors</h2>'
        f"<p>{counted(n_failures, 'picture')} could not be read or explained.{shown}</p>"
        f"<table><thead><tr><th>Picture</th><th>Reason</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )
