"""Picture files to RGB, and RGB to what a network takes.

Every kind of picture that Pillow reads becomes upright 8-bit RGB: EXIF rotation is applied, transparency is laid on
white, 16-bit grey is scaled (not clipped), and of an animation the first frame is taken.
"""

import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from l2caf.errors import DataError

SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
)
DRAFT_SIDE: Final = 2048  # JPEGs are decoded at the smallest scale at least this large
SQUASH_CROP: Final = 224 / 256

Region = tuple[float, float, float, float]


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """Find picture files: those that are named, and all that lie in the folders that are named.

    Args:
        paths: Files and folders. Files are taken whatever their suffix; folders are searched recursively, without
            hidden entries.

    Returns:
        The files in the order given; those of one folder are sorted.

    Raises:
        DataError: if a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _is_picture(file, path))
            if not inside:
                raise DataError(f"folder {path} holds no pictures; expected files such as .jpg or .png")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    return found


def _is_picture(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return not hidden and file.suffix.lower() in SUFFIXES and file.is_file()


def read_picture(path: Path) -> Image.Image:
    """Read one picture as upright 8-bit RGB.

    Args:
        path: A file of any format that Pillow reads; very large JPEGs are decoded at a fraction of their size.

    Returns:
        An RGB image.

    Raises:
        DataError: if the file is missing, empty, truncated, no picture, or beyond Pillow's limit of pixels.
    """
    if not path.is_file():
        raise DataError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected a picture file")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    return _decoded(path, str(path))


def decode_picture(content: bytes, name: str) -> Image.Image:
    """Read one picture from the bytes of its file, as upright 8-bit RGB.

    Args:
        content: The bytes of the file.
        name: The name of the picture in messages.

    Returns:
        An RGB image.

    Raises:
        DataError: if there are no bytes, or they are truncated, no picture, or beyond Pillow's limit of pixels.
    """
    if not content:
        raise DataError(f"{name} is empty")
    return _decoded(io.BytesIO(content), name)


def unreadable(path: Path) -> str | None:
    """Return why a picture file cannot be read, or None if it can."""
    try:
        read_picture(path)
    except DataError as error:
        return str(error)
    return None


def _decoded(source: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        return _opened(source)
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{name} cannot be read as a picture: {_short(error, source)}") from error


def _opened(source: Path | io.BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        # A 100-megapixel photograph is no bomb; Pillow still refuses what is twice its warning's size.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(source) as image:
            if max(image.size) > 2 * DRAFT_SIDE:
                image.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
            image.load()
            return as_rgb(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """Any image of Pillow as upright 8-bit RGB, as `read_picture` makes it of a file."""
    return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_scaled(np.asarray(image.convert("I"), dtype=np.float64))).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_scaled(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("RGB")


def _scaled(values: np.ndarray) -> np.ndarray:
    """Scale grey of more than 8 bits to 8: from the 16-bit range if the values need it, otherwise from their own."""
    top = 65535.0 if 255 < values.max() <= 65535 and values.min() >= 0 else max(float(values.max()), 1e-12)
    return np.clip(values / top * 255, 0, 255).round().astype(np.uint8)


def _short(error: Exception, source: Path | io.BytesIO) -> str:
    text = str(error).replace(str(source), "the file").strip()
    return text.splitlines()[0] if text else type(error).__name__


def prepare(  # noqa: PLR0913  (one keyword for each thing that a model card says)
    picture: Image.Image,
    *,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    fit: Literal["squash", "crop", "pad", "squash-crop"] = "squash",
    crop: float = 1.0,
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear",
    channels: Literal["rgb", "bgr"] = "rgb",
) -> tuple[Float[Tensor, "3 h w"], Region]:
    """Turn a picture into what a network takes.

    Args:
        picture: The RGB picture.
        size: The height and width that the network takes.
        mean: The mean of each channel for values in [0, 1]; a single number is used for all channels.
        std: The standard deviation of each channel for values in [0, 1]; a single number is used for all channels.
        fit: How the picture is brought to `size`. `"squash"` takes the whole picture and changes its aspect; `"crop"`
            takes the largest central part of the right aspect; `"pad"` takes the whole picture with grey borders;
            `"squash-crop"` takes the central 7/8 of both sides and changes the aspect.
        crop: The central share of both sides of that part which is taken, in (0, 1]; not with `"pad"`.
        resample: How the picture is resized, by Pillow's name.
        channels: The order of the channels that the network takes, in which `mean` and `std` are, too.

    Returns:
        The normalised float32 tensor, and the rectangle (x0, y0, x1, y1) of the picture that it shows, in pixels; with
        `"pad"` the rectangle reaches beyond the picture.
    """
    height, width = size
    region, how = _region(picture.size, (width, height), fit), Image.Resampling[resample.upper()]
    backwards = channels == "bgr"
    if fit == "pad":
        grey = tuple(round(255 * value) for value in (list(mean) * 3)[:3])
        fitted = ImageOps.pad(picture, (width, height), how, color=grey[::-1] if backwards else grey)
    else:
        region = _central(region, crop)
        fitted = picture.resize((width, height), how, box=region)
    values = torch.from_numpy(np.asarray(fitted, dtype=np.float32) / 255).permute(2, 0, 1)
    values = values.flip(0) if backwards else values
    return (values - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1), region


def seen(picture: Image.Image, region: Region, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Cut out the part of a picture that a network was shown.

    Args:
        picture: The RGB picture.
        region: The rectangle that `prepare` returned.
        size: The height and width of the result.

    Returns:
        RGB pixels, black beyond the edges of the picture.
    """
    x0, y0, x1, y1 = map(round, region)
    height, width = size
    return np.asarray(picture.crop((x0, y0, x1, y1)).resize((width, height)))


def _region(picture: tuple[int, int], target: tuple[int, int], fit: str) -> Region:
    width, height = picture
    if fit == "squash":
        return (0.0, 0.0, float(width), float(height))
    if fit == "squash-crop":
        return _central((0.0, 0.0, float(width), float(height)), SQUASH_CROP)
    scale = (min if fit == "crop" else max)(width / target[0], height / target[1])
    w, h = target[0] * scale, target[1] * scale
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def _central(region: Region, share: float) -> Region:
    """The central part of a region that has a share of each of its sides."""
    x0, y0, x1, y1 = region
    dx, dy = (x1 - x0) * (1 - share) / 2, (y1 - y0) * (1 - share) / 2
    return (x0 + dx, y0 + dy, x1 - dx, y1 - dy)
