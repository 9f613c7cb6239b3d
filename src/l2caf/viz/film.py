"""Films under their attention: frames with overlay and contours, written one at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from l2caf import pictures
from l2caf.errors import StorageError
from l2caf.extras import require

LEVELS: Final = ((0.5, (255, 214, 10)), (0.75, (235, 40, 40)))  # shares of the maximum, and their lines' colours
Write = Callable[[UInt8[np.ndarray, "h w 3"]], None]


def contoured(picture: UInt8[np.ndarray, "h w 3"], heatmap: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a picture under its heatmap, with lines at half and three quarters of the maximum, as in Figure 9.

    Args:
        picture: The RGB picture.
        heatmap: The heatmap, in [0, 1], of the picture's size.

    Returns:
        The RGB picture.

    Raises:
        DataError: if the sizes differ.
    """
    drawn = pictures.overlay(picture, heatmap, opacity=0.5).copy()
    for level, colour in LEVELS:
        inside = heatmap >= level
        drawn[inside & ~_eroded(inside, max(1, picture.shape[0] // 150))] = colour
    return drawn


def _eroded(region: Bool[np.ndarray, "h w"], steps: int) -> Bool[np.ndarray, "h w"]:
    """Return a region without the pixels that are at most `steps` steps (up, down, left, right) from its outside."""
    for _ in range(steps):
        around = np.pad(region, 1)
        region = region & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return region


@contextmanager
def mp4(path: Path, rate: float) -> Iterator[Write]:
    """Write an H.264 film that every browser plays, frame by frame.

    Args:
        path: The file to write.
        rate: The number of frames per second.

    Yields:
        A function to call with each frame; all frames have the same even height and width.

    Raises:
        ExtraMissingError: if PyAV is not installed.
        StorageError: if the file cannot be written.
    """
    av = require("av", extra="video")
    try:
        with av.open(str(path), "w") as container:

            def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
                if not container.streams.video:  # its size is that of the first frame
                    stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
                    stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
                container.mux(container.streams.video[0].encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

            yield write
            for stream in container.streams.video:
                container.mux(stream.encode())
    except (OSError, av.error.FFmpegError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def even(picture: Image.Image, longest: int) -> Image.Image:
    """Shrink a picture to at most `longest` pixels on a side, both sides even, as H.264 needs them."""
    scale = min(1.0, longest / max(picture.size))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in picture.size)
    return picture.resize((width, height))
