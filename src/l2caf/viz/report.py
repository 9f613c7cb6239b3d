"""One self-contained HTML page: every picture with its maps, and how far each map can be trusted."""

import math
from collections import Counter
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

SHOWN_PX: Final = 512  # longest side of a picture in the page
NEGATIVE_SHARE: Final = 0.05  # beyond it a map is marked: |f| then also shows what speaks against
CONTENTS_FROM: Final = 8  # pictures, from which on a list of them helps
NEGATIVE_NOTE: Final = (
    "This share of the filter's squared norm is in negative weights: there the map also shows what speaks against."
)
UNDECIDED_NOTE: Final = "The uniform filter does as well: the map carries no spatial information."
NOT_UNIQUE_NOTE: Final = "Another filter reaches the same loss, so other maps would be as good an explanation."


@dataclass(frozen=True, slots=True)
class Panel:
    """One map.

    Attributes:
        label: What the map explains.
        heatmap: The map (h, w) over the whole picture, in [0, 1], at any resolution; NaN counts as 0.
        loss: The loss under the map's filter; NaN for a map of another method, which has none.
        uniform_loss: The loss under the uniform filter; NaN for a map of another method, which has none.
        certificate: The certificate in one word.
        certificate_note: The sentence that explains the certificate.
        negative_share: The share of the filter's squared norm that is in negative weights, in [0, 1].
        unique: False if another filter is as good; None if that is not known.
        undecided: Whether the uniform filter is as good.
        picture: The RGB picture under the map; None for the picture of the entry.
        time_s: The seconds that were spent on the map.
        relative: Whether the least possible loss is 0, so that the loss can be given as a share of the uniform filter's
            loss.
    """

    label: str
    heatmap: Float[np.ndarray, "h w"]
    loss: float
    uniform_loss: float
    certificate: str
    certificate_note: str
    negative_share: float
    unique: bool | None
    time_s: float
    relative: bool = False
    undecided: bool = False
    picture: UInt8[np.ndarray, "h w 3"] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture, RGB (h, w, 3), with its maps."""

    name: str
    picture: UInt8[np.ndarray, "h w 3"]
    panels: Sequence[Panel]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the page says first.

    Attributes:
        settings: Names and values of the settings, in order; empty values are left out.
        skipped: Files that could not be explained, with the reason.
    """

    settings: Mapping[str, str]
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_report(path: Path, title: str, summary: Summary, entries: Sequence[Entry]) -> None:
    """Write the page.

    Args:
        path: The HTML file to write; its folder must exist.
        title: The heading of the page.
        summary: What the page says first.
        entries: The pictures with their maps.

    Raises:
        StorageError: if the file cannot be written.
    """
    panels = [panel for entry in entries for panel in entry.panels]
    certificates = list(dict.fromkeys(panel.certificate for panel in panels))
    body = Template(part("report.html")).substitute(
        title=escaped(title),
        lede=_lede(len(entries), len(panels), len(summary.skipped)),
        settings="".join(term(name, escaped(value)) for name, value in summary.settings.items() if value),
        scale=colour_scale(),
        legend=_legend(panels, certificates),
        skipped=_skipped(summary.skipped),
        contents=_contents(entries),
        entries="\n".join(_entry(number, entry, certificates) for number, entry in enumerate(entries)),
    )
    write_page(path, title, part("report.css"), body, part("report.js"))


def _lede(n_entries: int, n_panels: int, n_skipped: int) -> str:
    lede = f"{counted(n_entries, 'picture')}, {counted(n_panels, 'attention map')}."
    return f"{lede} {counted(n_skipped, 'file')} could not be explained." if n_skipped else lede


def _legend(panels: Sequence[Panel], certificates: Sequence[str]) -> str:
    """Explain every word that stands under a map once, with its frequency."""
    counts = Counter(panel.certificate for panel in panels)
    notes = {panel.certificate: panel.certificate_note for panel in reversed(panels)}
    rows = [
        term(name, f"{escaped(notes[name])} ({counted(counts[name], 'map')}).", f' id="certificate-{number}"')
        for number, name in enumerate(certificates)
    ]
    marked = sum(panel.negative_share > NEGATIVE_SHARE for panel in panels)
    ambiguous = sum(panel.unique is False for panel in panels)
    rows += [term("% negative", f"{NEGATIVE_NOTE} ({counted(marked, 'map')} above 5 %).")] * bool(marked)
    undecided = sum(panel.undecided for panel in panels)
    rows += [term("undecided", f"{UNDECIDED_NOTE} ({counted(undecided, 'map')}).")] * bool(undecided)
    rows += [term("not unique", f"{NOT_UNIQUE_NOTE} ({counted(ambiguous, 'map')}).")] * bool(ambiguous)
    return "\n".join(rows)


def _skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    rows = "".join(f"<li><bdi>{escaped(name)}</bdi>: <bdi>{escaped(reason)}</bdi></li>" for name, reason in skipped)
    return f'<section class="skipped"><h2>Not explained</h2><ul>{rows}</ul></section>'


def _contents(entries: Sequence[Entry]) -> str:
    if len(entries) < CONTENTS_FROM:
        return ""
    rows = "".join(f'<li><a href="#e{n}"><bdi>{escaped(entry.name)}</bdi></a></li>' for n, entry in enumerate(entries))
    return f"<nav aria-label='Pictures'><details><summary>All pictures</summary><ol>{rows}</ol></details></nav>"


def _entry(number: int, entry: Entry, certificates: Sequence[str]) -> str:
    image = Image.fromarray(entry.picture)
    image.thumbnail((SHOWN_PX, SHOWN_PX))
    photo = f'<image id="p{number}" href="{jpeg_uri(image)}" width="{image.width}" height="{image.height}"/>'
    original = _figure(f"Picture {entry.name}", image.size, photo, "<h3>Picture</h3>")
    panels = "".join(_panel(panel, number, entry.name, image.size, certificates) for panel in entry.panels)
    note = f'<p class="note">{escaped(entry.note)}</p>' if entry.note else ""
    heading = f'<h2 id="h{number}"><bdi>{escaped(entry.name)}</bdi></h2>'
    return (
        f'<section class="entry" id="e{number}" aria-labelledby="h{number}">{heading}{note}'
        f'<div class="row">{original}{panels}</div></section>'
    )


def _figure(alt: str, size: tuple[int, int], layers: str, caption: str) -> str:
    return (
        f'<figure><button type="button" class="view"><svg role="img" aria-label="{escaped(alt)}; show larger" '
        f'viewBox="0 0 {size[0]} {size[1]}">{layers}</svg></button><figcaption>{caption}</figcaption></figure>'
    )


def _panel(panel: Panel, number: int, name: str, size: tuple[int, int], certificates: Sequence[str]) -> str:
    heat = np.clip(np.nan_to_num(panel.heatmap), 0, 1)
    ground = f'<use href="#p{number}"/>'
    if panel.picture is not None:
        image = Image.fromarray(panel.picture)
        image.thumbnail((SHOWN_PX, SHOWN_PX))
        size = image.size
        ground = f'<image href="{jpeg_uri(image)}" width="{image.width}" height="{image.height}"/>'
    layers = (
        f'{ground}<image class="heat" href="{heat_uri(heat)}" '
        f'width="{size[0]}" height="{size[1]}" preserveAspectRatio="none"/>'
    )
    anchor = f"#certificate-{certificates.index(panel.certificate)}"
    badges = [f'<a class="badge" href="{anchor}">{escaped(panel.certificate)}</a>']
    if panel.negative_share > NEGATIVE_SHARE:
        badges.append(f'<span class="mark">{panel.negative_share:.0%} negative</span>')
    if panel.undecided:
        badges.append('<span class="mark">undecided</span>')
    elif panel.unique is False:
        badges.append('<span class="mark">not unique</span>')
    figures = "" if math.isnan(panel.uniform_loss) else (  # of a method that solves no problem of ours
        f"<dl><dt>loss</dt><dd class='own'>{four_digits(panel.loss)}</dd>"
        f"<dt>uniform filter</dt><dd>{four_digits(panel.uniform_loss)}</dd>{_meter(panel)}</dl><p>{_gain(panel)}</p>"
    )  # fmt: skip
    caption = (
        f"<h3><bdi>{escaped(panel.label)}</bdi></h3>{figures}"
        f"<p class='badges'>{''.join(badges)}<span>{_duration(panel.time_s)}</span></p>"
    )
    return _figure(f"Attention for {panel.label} in {name}, {where(heat)}", size, layers, caption)


def _meter(panel: Panel) -> str:
    """Draw the loss as a share of the uniform filter's loss, if it is one."""
    if not panel.relative or not 0 <= panel.loss <= panel.uniform_loss or panel.uniform_loss == 0:
        return ""
    share = panel.loss / panel.uniform_loss
    return f'<div class="meter" aria-hidden="true"><i style="width:{share:.1%}"></i></div>'


def _gain(panel: Panel) -> str:
    """Say in words by how much the map's loss is below or above that of the uniform filter."""
    gain = panel.uniform_loss - panel.loss
    if not math.isfinite(gain):
        return "not comparable with the uniform filter"
    if math.isclose(panel.loss, panel.uniform_loss, rel_tol=1e-4, abs_tol=1e-12):
        return "as good as the uniform filter"
    size = (
        f"{abs(gain) / panel.uniform_loss:.0%}" if panel.relative and panel.uniform_loss > 0 else four_digits(abs(gain))
    )
    return f"{size} {'below' if gain > 0 else 'above'} the uniform filter"


def _duration(time_s: float) -> str:
    if time_s >= 1:
        return f"{time_s:.1f} s per map"
    return f"{time_s * 1e3:.0f} ms per map" if time_s >= 0.01 else f"{time_s * 1e3:.2g} ms per map"
