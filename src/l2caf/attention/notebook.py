"""How a notebook shows maps: a table with one row for each input."""

import html
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from l2caf import pictures


def table(rows: Sequence[Sequence[tuple[UInt8[np.ndarray, "h w 3"], str]]]) -> str:
    """An HTML table of pictures, each with its caption below.

    Args:
        rows: the pictures and captions of each input; captions are escaped here.

    Returns:
        A `<table>` that needs no other file.
    """
    return f"<table>{''.join(f'<tr>{chr(10).join(_cell(*cell) for cell in row)}</tr>' for row in rows)}</table>"


def _cell(picture: UInt8[np.ndarray, "h w 3"], caption: str) -> str:
    text = html.escape(caption)
    image = f'<img src="{pictures.png_uri(picture)}" alt="{text}" style="max-width:224px">'
    return f"<td style='text-align:left;vertical-align:top'>{image}<br><small>{text}</small></td>"
