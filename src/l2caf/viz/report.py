"""One self-contained HTML page: every picture with its maps, and how far each map can be trusted.

Nothing is fetched when it is opened; file names and labels are hostile input and are escaped.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf import pictures

SHOWN_PX: Final = 448  # longest side of a picture in the page
NEGATIVE_SHARE: Final = 0.05  # beyond it a map is marked: |f| then also shows what speaks against


@dataclass(frozen=True, slots=True)
class Panel:
    """One map.

    Attributes:
        label: what it explains.
        heatmap: (h, w) in [0, 1], in the picture's frame.
        loss: under the map's filter.
        uniform_loss: under the filter that prefers no position.
        certificate: one word.
        certificate_note: the sentence behind it.
        negative_share: of the squared norm, in [0, 1].
        unique: False where another filter is as good; None where that is not known.
        time_s: seconds spent per map.
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
        settings: name and value, in order.
        skipped: files that could not be explained, with the reason.
    """

    settings: Mapping[str, str]
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_report(path: Path, title: str, summary: Summary, entries: Sequence[Entry]) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        title: its heading.
        summary: settings and skipped files.
        entries: the pictures.
    """
    template = files("l2caf.viz").joinpath("report.html").read_text(encoding="utf-8")
    notes = {panel.certificate: panel.certificate_note for entry in entries for panel in entry.panels}
    parts = {
        "title": html.escape(title),
        "settings": "".join(_row(name, value) for name, value in summary.settings.items()),
        "legend": "".join(_row(name, note) for name, note in notes.items()),
        "skipped": _skipped(summary.skipped),
        "entries": "\n".join(_entry(entry) for entry in entries),
    }
    for name, part in parts.items():
        template = template.replace(f"<!--{name}-->", part)
    path.write_text(template, encoding="utf-8")


def _row(name: str, value: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"


def _skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    rows = "".join(f"<li><bdi>{html.escape(name)}</bdi>: {html.escape(reason)}</li>" for name, reason in skipped)
    return f"<section><h2>Not explained</h2><ul>{rows}</ul></section>"


def _entry(entry: Entry) -> str:
    picture = _shown(entry.picture)
    original = f'<figure><div class="stack"><img loading="lazy" src="{_jpeg(picture)}" alt="picture"></div>'
    original += "<figcaption><b>picture</b></figcaption></figure>"
    panels = "".join(_panel(panel, picture) for panel in entry.panels)
    note = f"<p>{html.escape(entry.note)}</p>" if entry.note else ""
    heading = f"<h2><bdi>{html.escape(entry.name)}</bdi></h2>"
    return f"<section>{heading}{note}<div class='row'>{original}{panels}</div></section>"


def _panel(panel: Panel, picture: UInt8[np.ndarray, "h w 3"]) -> str:
    label = html.escape(panel.label)
    heat = np.asarray(Image.fromarray(panel.heatmap.astype(np.float32)).resize(picture.shape[1::-1]))
    marks = [f"<abbr title='{html.escape(panel.certificate_note)}'>{html.escape(panel.certificate)}</abbr>"]
    if panel.unique is False:
        marks.append("<em>not unique</em>")
    if panel.negative_share > NEGATIVE_SHARE:
        marks.append(f"<em>{panel.negative_share:.0%} of the filter speaks against</em>")
    return (
        f'<figure><div class="stack"><img loading="lazy" src="{_jpeg(picture)}" alt="">'
        f'<img class="heat" loading="lazy" src="{_heat(heat)}" alt="attention for {label}"></div>'
        f"<figcaption><b>{label}</b><br>loss {panel.loss:.4g}, uniform filter {panel.uniform_loss:.4g}<br>"
        f"{' · '.join(marks)}<br>{panel.time_s * 1e3:.1f} ms per map</figcaption></figure>"
    )


def _shown(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    image = Image.fromarray(picture)
    image.thumbnail((SHOWN_PX, SHOWN_PX))
    return np.asarray(image)


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _heat(heatmap: Float[np.ndarray, "h w"]) -> str:
    """The map's colours, opaque where it is hot."""
    heat = np.clip(heatmap, 0, 1)
    rgba = np.dstack([pictures.colorize(heat), (heat * 255).round().astype(np.uint8)])
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
