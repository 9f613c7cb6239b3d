"""Figures made of pictures in rows, each column with a heading."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from l2caf.errors import StorageError

CELL_PX: Final = 224
GAP_PX: Final = 8
HEAD_PX: Final = 24


def write_grid(path: Path, headings: Sequence[str], rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]]) -> None:
    """Write pictures as a table.

    Args:
        path: The file to write, of any type that Pillow writes.
        headings: One heading for each column.
        rows: RGB pictures, one for each column; they are drawn 224 pixels high.

    Raises:
        StorageError: if the file cannot be written.
    """
    drawn = [[_cell(picture) for picture in row] for row in rows]
    width = max(cell.width for row in drawn for cell in row)
    step_x, step_y = width + GAP_PX, CELL_PX + GAP_PX
    canvas = Image.new("RGB", (step_x * len(headings) - GAP_PX, HEAD_PX + step_y * len(rows) - GAP_PX), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for column, heading in enumerate(headings):
        pen.text((column * step_x + width / 2, HEAD_PX / 2), heading, fill="black", font=font, anchor="mm")
    for number, row in enumerate(drawn):
        for column, cell in enumerate(row):
            left = column * step_x + (width - cell.width) // 2
            canvas.paste(cell, (left, HEAD_PX + number * step_y))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def titled(picture: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h w 3"]:
    """Write a text into the upper left corner of a picture."""
    image = Image.fromarray(picture)
    size = max(8, image.height // 12)
    ImageDraw.Draw(image).text(
        (4, 2), text, fill="white", stroke_width=2, stroke_fill="black", font=ImageFont.load_default(size)
    )
    return np.asarray(image)


def _cell(picture: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((max(1, round(image.width * CELL_PX / image.height)), CELL_PX), Image.Resampling.BICUBIC)
