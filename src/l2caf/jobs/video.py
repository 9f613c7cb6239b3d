"""`l2caf video`: a film and a network in, the film under its attention out.

Frames are decoded, explained and written a batch at a time; only the filters, and a few small pictures for the film
strip and the GIF, stay in memory.
"""

import logging
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from l2caf import pictures, storage
from l2caf.attention import L2CAF, Attention
from l2caf.attention.frames import sees_volumes
from l2caf.attention.targets import Target
from l2caf.data.clips import chosen_times, frames_at, open_film
from l2caf.data.pictures import prepare, seen
from l2caf.errors import DataError
from l2caf.jobs.check import check_takes
from l2caf.models import LoadedModel
from l2caf.progress import Report, silent
from l2caf.video.maps import frame_maps
from l2caf.viz.animation import write_gif
from l2caf.viz.film import Write, contoured, even, mp4
from l2caf.viz.grid import write_grid

LONGEST_PX: Final = 640  # of a side of the film that is written
BATCH: Final = 8  # frames that a network of pictures sees at once
STRIP, GIF = 6, 48  # pictures in the film strip and the GIF
GIF_PX: Final = 240
LONGEST_SHOWN_S: Final = 2.0  # in the film that is written
logger = logging.getLogger("l2caf")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a film are explained, and for which classes.

    Attributes:
        frames: the number of frames, at equal steps of time, that are taken of the film, or for a network of clips of
            each clip. None stands for 32 of the film, or for as many as the network of clips was trained on.
        clips: the number of clips that a film is cut into, for a network of clips.
        target: the classes to explain, as for `L2CAF`; of several classes the first is drawn.
    """

    frames: int | None = None
    clips: int = 1
    target: Target = None

    def per_clip(self, loaded: LoadedModel) -> int:
        """Frames seen at once: of one clip, or a batch of pictures."""
        return BATCH if loaded.card.frames is None else self.frames or loaded.card.frames

    def in_all(self, loaded: LoadedModel) -> int:
        """Frames of the whole film."""
        return (self.frames or 32) if loaded.card.frames is None else self.per_clip(loaded) * self.clips


@dataclass(slots=True)
class _Kept:
    """What stays in memory of a film."""

    n: int
    size: tuple[int, int] | None = None  # width and height of every frame
    strip: list[UInt8[np.ndarray, "h w 3"]] = field(default_factory=list)
    strip_times: list[float] = field(default_factory=list)
    small: list[UInt8[np.ndarray, "h w 3"]] = field(default_factory=list)
    filters: list[Tensor] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    lines: list[storage.JsonObject] = field(default_factory=list)

    def frame(self, time: float, drawn: UInt8[np.ndarray, "h w 3"], lined: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keep a frame's pictures if it is among those of the strip or the GIF."""
        if _is_among(len(self.times), self.n, STRIP):
            self.strip.append(lined)
            self.strip_times.append(time)
        if _is_among(len(self.times), self.n, GIF):
            self.small.append(np.asarray(even(Image.fromarray(drawn), GIF_PX)))
        self.times.append(time)


def _is_among(index: int, n: int, wanted: int) -> bool:
    """Whether a frame is one of so many that lie evenly among n."""
    return n <= wanted or (index * wanted // n) != ((index - 1) * wanted // n)


def explain_film(  # noqa: PLR0913  (what, with what, whereto; the rest by keyword)
    path: Path,
    loaded: LoadedModel,
    caf: L2CAF,
    output: Path,
    *,
    sampling: Sampling = Sampling(),
    overwrite: bool = False,
    report: Report = silent,
) -> Path:
    """Explain a film and write it under its attention, whole or not at all.

    Args:
        path: a film, or a folder of frames.
        loaded: a network of pictures, which sees frame by frame, or of clips.
        caf: the explainer, around `loaded.model`.
        output: a folder that does not exist yet.
        sampling: which frames are explained, and for which classes.
        overwrite: whether an earlier result there is replaced.
        report: called with the number of frames done and in all.

    Returns:
        The folder: attention.mp4, attention.gif, filmstrip.png, filters.npz, manifest.json.

    Raises:
        DataError: if the film cannot be read, or its frames change in size.
        ModelError: if the network does not take them.
        StorageError: if the folder exists or cannot be written.
        ExtraMissingError: if PyAV is not installed.
    """
    film = open_film(path)
    times = chosen_times(film, sampling.in_all(loaded))
    kept = _Kept(len(times))
    rate = max(1 / LONGEST_SHOWN_S, len(times) / max(times[-1] - times[0], len(times) / 25.0))
    with storage.new_folder(output, overwrite=overwrite) as folder:
        with mp4(folder / "attention.mp4", rate) as write:
            frames = frames_at(film, times)
            explain = _Explainer(loaded, caf, sampling, kept, write)
            while part := list(islice(frames, sampling.per_clip(loaded))):
                explain(part)
                report(len(kept.times), len(times))
        if len(kept.times) < len(times):
            logger.warning("%s is damaged: of %d frames chosen, %d can be read", path, len(times), len(kept.times))
        write_gif(folder / "attention.gif", kept.small)
        write_grid(folder / "filmstrip.png", [f"{time:.2f} s" for time in kept.strip_times], [kept.strip])
        storage.write_arrays(
            folder / "filters.npz",
            {"filters": torch.cat(kept.filters).float().cpu().numpy(), "times_s": np.asarray(kept.times)},
        )
        settings = {"film": str(path), "network": loaded.name, "frames_in_film": len(film.times_s)}
        storage.write_manifest(folder, {"format": "l2caf.video/1", **settings, "parts": kept.lines})
    return output


@dataclass(frozen=True, slots=True)
class _Explainer:
    """Explains and writes a batch of frames."""

    loaded: LoadedModel
    caf: L2CAF
    sampling: Sampling
    kept: _Kept
    write: Write

    def __call__(self, part: list[tuple[float, Image.Image]]) -> None:
        """Frames of one clip, or some of a film for a network of pictures, with their times."""
        self._check_sizes(part)
        prepared = [prepare(picture, **self.loaded.card.feeding) for _, picture in part]
        inputs = torch.stack([tensor for tensor, _ in prepared]).to(self.loaded.device)
        clip = _as_clip(inputs, self.loaded, self.sampling) if self.loaded.card.frames else inputs
        if not self.kept.times:
            check_takes(self.loaded.model, clip, "a network of clips says so by `frames` in its model card (`--card`)")
        attention = self.caf(clip, self.sampling.target)
        shown = [_view(picture, region) for (_, picture), (_, region) in zip(part, prepared, strict=True)]
        maps = _maps_of(attention, len(part), (shown[0].shape[0], shown[0].shape[1]))
        for (time, _), picture, heat in zip(part, shown, maps, strict=True):
            drawn = pictures.overlay(picture, heat)
            self.write(drawn)
            self.kept.frame(time, drawn, contoured(picture, heat))
        self.kept.filters.append(attention.filter.flatten(0, attention.loss.dim() - 1))
        self.kept.lines.append(_line(attention, [time for time, _ in part]))

    def _check_sizes(self, part: list[tuple[float, Image.Image]]) -> None:
        """Refuse frames of several sizes: a film is written in one."""
        for time, picture in part:
            self.kept.size = self.kept.size or picture.size
            if picture.size != self.kept.size:
                (width, height), (w, h) = picture.size, self.kept.size
                raise DataError(f"the frame at {time:.2f} s has {width} x {height} pixels, those before it {w} x {h}")


def _as_clip(inputs: Float[Tensor, "t 3 h w"], loaded: LoadedModel, sampling: Sampling) -> Tensor:
    """One clip with as many frames as the network takes; of fewer, some are shown longer."""
    n = sampling.per_clip(loaded)
    places = torch.linspace(0, len(inputs) - 1, n).round().long() if len(inputs) < n else torch.arange(n)
    clip = inputs[places].unsqueeze(0)
    return clip.transpose(1, 2) if sees_volumes(loaded.model) else clip


def _maps_of(attention: Attention, n: int, size: tuple[int, int]) -> Float[np.ndarray, "t h w"]:
    if attention.question.runs is None and len(attention.grid) == 2:  # pictures
        maps = pictures.normalized(pictures.resize(attention.filter[:, :1].abs(), size))[:, 0]
    elif len(attention.grid) == 3:
        maps = frame_maps(attention, size, n)[0]
    else:
        every = frame_maps(attention, size)[0]
        maps = every[torch.linspace(0, len(every) - 1, n).round().long()]
    return maps.float().cpu().numpy()


def _view(picture: Image.Image, region: tuple[float, float, float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """What the network saw of a frame, in the frame's own shape."""
    x0, y0, x1, y1 = map(round, region)
    fitted = even(Image.new("RGB", (max(2, x1 - x0), max(2, y1 - y0))), LONGEST_PX)
    return seen(picture, region, (fitted.height, fitted.width))


def _line(attention: Attention, times: list[float]) -> storage.JsonObject:
    return {
        "times_s": times,
        "layer": attention.question.layer,
        "grid": list(attention.grid),
        "call": attention.question.runs,
        "target": None if attention.target is None else attention.target.tolist(),
        "loss": attention.loss.tolist(),
        "uniform_loss": attention.uniform_loss.tolist(),
        "certificate": [[one.label for one in row.flat] for row in attention.certificate],
    }
