"""One self-contained HTML page: every picture with its maps, and how far each map can be trusted.

Nothing is fetched when the page is opened, and its content security policy forbids it. File names and labels are
hostile input: they are escaped, and characters that reorder or corrupt text are written out.
"""

import base64
import hashlib
import html
import io
import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf import pictures
from l2caf.errors import StorageError

SHOWN_PX: Final = 512  # longest side of a picture in the page
HEAT_PX: Final = 160  # of a map: it is smooth, and the browser enlarges it
NEGATIVE_SHARE: Final = 0.05  # beyond it a map is marked: |f| then also shows what speaks against
CONTENTS_FROM: Final = 8  # pictures, from which on a list of them helps
REORDERING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
NEGATIVE_NOTE: Final = (
    "This share of the filter's squared norm is in negative weights: there the map also shows what speaks against."
)
NOT_UNIQUE_NOTE: Final = "Another filter reaches the same loss, so other maps would be as good an explanation."


@dataclass(frozen=True, slots=True)
class Panel:
    """One map.

    Attributes:
        label: what it explains.
        heatmap: (h, w) in [0, 1], covering the whole picture, at any resolution; NaN counts as 0.
        loss: under the map's filter.
        uniform_loss: under the filter that prefers no position.
        certificate: one word.
        certificate_note: the sentence behind it.
        negative_share: of the squared norm, in [0, 1].
        unique: False where another filter is as good; None where that is not known.
        time_s: seconds spent per map.
        relative: whether the loss is 0 at best, so that it can be put as a share of the uniform filter's.
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


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture with its maps; `picture` is RGB (h, w, 3)."""

    name: str
    picture: UInt8[np.ndarray, "h w 3"]
    panels: Sequence[Panel]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the page says first.

    Attributes:
        settings: name and value, in order; empty values are left out.
        skipped: files that could not be explained, with the reason.
    """

    settings: Mapping[str, str]
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_report(path: Path, title: str, summary: Summary, entries: Sequence[Entry]) -> None:
    """Write the page.

    Args:
        path: the HTML file; its folder exists.
        title: its heading.
        summary: settings and skipped files.
        entries: the pictures.

    Raises:
        StorageError: if the file cannot be written.
    """
    panels = [panel for entry in entries for panel in entry.panels]
    certificates = list(dict.fromkeys(panel.certificate for panel in panels))
    script = _part("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(_part("report.html")).substitute(
        title=_text(title),
        lede=_lede(len(entries), len(panels), len(summary.skipped)),
        settings="".join(_term(name, _text(value)) for name, value in summary.settings.items() if value),
        scale=_heat_uri(np.linspace(0, 1, 256)[None].repeat(2, axis=0), opaque=True),
        legend=_legend(panels, certificates),
        skipped=_skipped(summary.skipped),
        contents=_contents(entries),
        entries="\n".join(_entry(number, entry, certificates) for number, entry in enumerate(entries)),
        style=_part("report.css"),
        script=script,
        script_hash=f"sha256-{digest}",
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def _part(name: str) -> str:
    return files("l2caf.viz").joinpath(name).read_text(encoding="utf-8")


def _text(raw: str) -> str:
    """Escaped; control characters, broken bytes of file names and text reordering are shown by their code."""
    shown = (
        f"\\u{ord(c):04x}" if c in REORDERING or unicodedata.category(c) in {"Cc", "Cs"} else c
        for c in raw.replace("\n", " ")
    )
    return html.escape("".join(shown))


def _term(name: str, value: str, anchor: str = "") -> str:
    return f"<div{anchor}><dt>{_text(name)}</dt><dd>{value}</dd></div>"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _lede(n_entries: int, n_panels: int, n_skipped: int) -> str:
    lede = f"{_counted(n_entries, 'picture')}, {_counted(n_panels, 'attention map')}."
    return f"{lede} {_counted(n_skipped, 'file')} could not be explained." if n_skipped else lede


def _legend(panels: Sequence[Panel], certificates: Sequence[str]) -> str:
    """Every word that stands under a map, explained once with its frequency."""
    counts = Counter(panel.certificate for panel in panels)
    notes = {panel.certificate: panel.certificate_note for panel in reversed(panels)}
    rows = [
        _term(name, f"{_text(notes[name])} ({_counted(counts[name], 'map')}).", f' id="certificate-{number}"')
        for number, name in enumerate(certificates)
    ]
    marked = sum(panel.negative_share > NEGATIVE_SHARE for panel in panels)
    ambiguous = sum(panel.unique is False for panel in panels)
    rows += [_term("% negative", f"{NEGATIVE_NOTE} ({_counted(marked, 'map')} above 5 %).")] * bool(marked)
    rows += [_term("not unique", f"{NOT_UNIQUE_NOTE} ({_counted(ambiguous, 'map')}).")] * bool(ambiguous)
    return "\n".join(rows)


def _skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    rows = "".join(f"<li><bdi>{_text(name)}</bdi>: <bdi>{_text(reason)}</bdi></li>" for name, reason in skipped)
    return f'<section class="skipped"><h2>Not explained</h2><ul>{rows}</ul></section>'


def _contents(entries: Sequence[Entry]) -> str:
    if len(entries) < CONTENTS_FROM:
        return ""
    rows = "".join(f'<li><a href="#e{n}"><bdi>{_text(entry.name)}</bdi></a></li>' for n, entry in enumerate(entries))
    return f"<nav aria-label='Pictures'><details><summary>All pictures</summary><ol>{rows}</ol></details></nav>"


def _entry(number: int, entry: Entry, certificates: Sequence[str]) -> str:
    image = Image.fromarray(entry.picture)
    image.thumbnail((SHOWN_PX, SHOWN_PX))
    photo = f'<image id="p{number}" href="{_jpeg_uri(image)}" width="{image.width}" height="{image.height}"/>'
    original = _figure(f"Picture {entry.name}", image.size, photo, "<h3>Picture</h3>")
    panels = "".join(_panel(panel, number, entry.name, image.size, certificates) for panel in entry.panels)
    note = f'<p class="note">{_text(entry.note)}</p>' if entry.note else ""
    heading = f'<h2 id="h{number}"><bdi>{_text(entry.name)}</bdi></h2>'
    return (
        f'<section class="entry" id="e{number}" aria-labelledby="h{number}">{heading}{note}'
        f'<div class="row">{original}{panels}</div></section>'
    )


def _figure(alt: str, size: tuple[int, int], layers: str, caption: str) -> str:
    return (
        f'<figure><button type="button" class="view"><svg role="img" aria-label="{_text(alt)}; show larger" '
        f'viewBox="0 0 {size[0]} {size[1]}">{layers}</svg></button><figcaption>{caption}</figcaption></figure>'
    )


def _panel(panel: Panel, number: int, name: str, size: tuple[int, int], certificates: Sequence[str]) -> str:
    heat = np.clip(np.nan_to_num(panel.heatmap), 0, 1)
    layers = (
        f'<use href="#p{number}"/><image class="heat" href="{_heat_uri(heat)}" '
        f'width="{size[0]}" height="{size[1]}" preserveAspectRatio="none"/>'
    )
    anchor = f"#certificate-{certificates.index(panel.certificate)}"
    badges = [f'<a class="badge" href="{anchor}">{_text(panel.certificate)}</a>']
    if panel.negative_share > NEGATIVE_SHARE:
        badges.append(f'<span class="mark">{panel.negative_share:.0%} negative</span>')
    if panel.unique is False:
        badges.append('<span class="mark">not unique</span>')
    caption = (
        f"<h3><bdi>{_text(panel.label)}</bdi></h3><dl><dt>loss</dt><dd class='own'>{_number(panel.loss)}</dd>"
        f"<dt>uniform filter</dt><dd>{_number(panel.uniform_loss)}</dd>{_meter(panel)}</dl>"
        f"<p>{_gain(panel)}</p><p class='badges'>{''.join(badges)}<span>{_duration(panel.time_s)}</span></p>"
    )
    return _figure(f"Attention for {panel.label} in {name}, {_where(heat)}", size, layers, caption)


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _meter(panel: Panel) -> str:
    """A bar of the loss as a share of the uniform filter's, where it is one."""
    if not panel.relative or not 0 <= panel.loss <= panel.uniform_loss or panel.uniform_loss == 0:
        return ""
    share = panel.loss / panel.uniform_loss
    return f'<div class="meter" aria-hidden="true"><i style="width:{share:.1%}"></i></div>'


def _gain(panel: Panel) -> str:
    """What the map gains over looking everywhere alike, in words."""
    gain = panel.uniform_loss - panel.loss
    if not math.isfinite(gain):
        return "not comparable with the uniform filter"
    if math.isclose(panel.loss, panel.uniform_loss, rel_tol=1e-4, abs_tol=1e-12):
        return "as good as the uniform filter"
    size = f"{abs(gain) / panel.uniform_loss:.0%}" if panel.relative and panel.uniform_loss > 0 else _number(abs(gain))
    return f"{size} {'below' if gain > 0 else 'above'} the uniform filter"


def _duration(time_s: float) -> str:
    return f"{time_s:.1f} s per map" if time_s >= 1 else f"{time_s * 1e3:.2g} ms per map"


def _where(heat: Float[np.ndarray, "h w"]) -> str:
    """Where a map is strongest, for those who cannot see it."""
    if not heat.any():
        return "zero throughout"
    height, width = heat.shape
    y, x = divmod(int(heat.argmax()), width)
    row = ("top", "middle", "bottom")[3 * y // height]
    column = ("left", "centre", "right")[3 * x // width]
    return f"strongest at {row} {column}"


def _jpeg_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _heat_uri(heat: Float[np.ndarray, "h w"], *, opaque: bool = False) -> str:
    """The map's colours as a palette PNG; unless `opaque`, as transparent as it is cold."""
    levels = Image.fromarray((heat * 255).round().astype(np.uint8))
    levels.thumbnail((256 if opaque else HEAT_PX,) * 2, Image.Resampling.BILINEAR)
    image = Image.fromarray(np.asarray(levels)).convert("P")
    image.putpalette(pictures.colorize(np.linspace(0, 1, 256)[None])[0].tobytes())
    buffer = io.BytesIO()
    transparency = {} if opaque else {"transparency": bytes(range(256))}
    image.save(buffer, "PNG", optimize=True, **transparency)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
