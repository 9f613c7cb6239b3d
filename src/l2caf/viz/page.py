"""What all pages share: parts of pages, escaped text, and pictures as `data:` URIs.

A page fetches nothing when it is opened, and its content security policy forbids it. File names and labels may be
hostile: they are escaped, and characters that reorder or corrupt text are shown by their code.
"""

import base64
import hashlib
import html
import io
import unicodedata
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image

from l2caf import pictures, storage

HEAT_PX: Final = 160  # longest side of a map in a page: it is smooth, and the browser enlarges it
REORDERING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def part(name: str) -> str:
    """Read a file of this package as text."""
    return files("l2caf.viz").joinpath(name).read_text(encoding="utf-8")


def escaped(raw: str) -> str:
    """Escape a text; control characters, broken bytes and characters that reorder text are shown by their code."""
    shown = (
        f"\\u{ord(c):04x}" if c in REORDERING or unicodedata.category(c) in {"Cc", "Cs"} else c
        for c in raw.replace("\n", " ")
    )
    return html.escape("".join(shown))


def term(name: str, value: str, anchor: str = "") -> str:
    """Format a name and its value, which is HTML, as an entry of a list."""
    return f"<div{anchor}><dt>{escaped(name)}</dt><dd>{value}</dd></div>"


def counted(n: int, noun: str) -> str:
    """Format a number of things, such as `1,000 pictures`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def four_digits(value: float) -> str:
    """Format a number with four digits and a real minus sign."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def where(heat: Float[np.ndarray, "h w"]) -> str:
    """Say where a map is strongest, for readers who cannot see it."""
    if not heat.any():
        return "zero throughout"
    height, width = heat.shape
    y, x = divmod(int(heat.argmax()), width)
    row = ("top", "middle", "bottom")[3 * y // height]
    column = ("left", "centre", "right")[3 * x // width]
    return f"strongest at {row} {column}"


def jpeg_uri(image: Image.Image) -> str:
    """Encode a photograph as a `data:` URI."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def heat_uri(heat: Float[np.ndarray, "h w"], *, opaque: bool = False) -> str:
    """Encode a map as a coloured PNG; unless it is `opaque`, a pixel without weight is transparent."""
    levels = Image.fromarray((heat * 255).round().astype(np.uint8))
    levels.thumbnail((256 if opaque else HEAT_PX,) * 2, Image.Resampling.BILINEAR)
    image = Image.fromarray(np.asarray(levels)).convert("P")
    image.putpalette(pictures.colorize(np.linspace(0, 1, 256)[None])[0].tobytes())
    buffer = io.BytesIO()
    transparency = {} if opaque else {"transparency": bytes(range(256))}
    image.save(buffer, "PNG", optimize=True, **transparency)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour_scale() -> str:
    """Return the colours from no weight to the most, encoded as by `heat_uri`."""
    return heat_uri(np.linspace(0, 1, 256)[None].repeat(2, axis=0), opaque=True)


def write_page(path: Path, title: str, style: str, body: str, script: str) -> None:
    """Write a page that fetches nothing and runs no script but its own.

    Args:
        path: The HTML file to write; its folder must exist.
        title: The title as text, which is escaped here.
        style: The CSS of the page.
        body: The HTML of the body; foreign text in it must be escaped.
        script: The JavaScript that runs at the end.

    Raises:
        StorageError: if the file cannot be written.
    """
    script_hash = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(part("page.html")).substitute(
        title=escaped(title), style=style, body=body, script=script, script_hash=script_hash
    )
    with storage.whole_file(path) as stream:  # an earlier page stays whole if the disk is full
        stream.write(page.encode("utf-8"))
