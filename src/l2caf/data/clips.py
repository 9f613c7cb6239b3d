"""Frames of a film or of a folder, sampled at equal steps of time, one at a time.

A film is read twice: once without decoding, for the time of every frame (which a variable frame rate, an edited file or
a missing index make the only thing to trust), and once to decode, seeking over what is not sampled. So an hour of film
costs no more memory than one frame and a number per frame.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from PIL import Image

from l2caf.data.pictures import find_pictures, read_picture
from l2caf.errors import DataError
from l2caf.extras import require

T = TypeVar("T")
FOLDER_RATE: Final = 10.0  # frames per second that a folder of pictures is taken for


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a film before any frame is decoded.

    Attributes:
        path: The film file, or a folder of pictures.
        times_s: The times at which the frames are shown, ascending.
        keys_s: The times of the frames from which decoding can start.
        pictures: The picture files where `path` is a folder; empty for a film file.
    """

    path: Path
    times_s: tuple[float, ...]
    keys_s: tuple[float, ...] = ()
    pictures: tuple[Path, ...] = ()


def open_film(path: Path) -> Film:
    """Find out which frames there are.

    Args:
        path: A film in any container that FFmpeg reads, or a folder of pictures, which are taken in natural order.

    Returns:
        The film. If the file breaks off, these are the frames that can be read.

    Raises:
        DataError: if it does not exist, cannot be read, or shows no picture.
        ExtraMissingError: if it is a film and PyAV is not installed.
    """
    if path.is_dir():
        files = sorted(find_pictures([path]), key=_natural)
        return Film(path, tuple(number / FOLDER_RATE for number in range(len(files))), pictures=tuple(files))
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a film or a folder of pictures")
    times, keys = [], []
    with _OpenFilm(path) as film:
        for time, is_key in film.shown():
            times.append(time)
            if is_key:
                keys.append(time)
    if not times:
        raise DataError(f"{path} has a video stream without frames")
    return Film(path, tuple(sorted(times)), tuple(sorted(keys)))


def chosen_times(film: Film, n: int) -> tuple[float, ...]:
    """Choose n frames, each in the middle of one of n equal parts of a film.

    Args:
        film: The film.
        n: The number of frames, at least 1.

    Returns:
        Ascending times of real frames; all of them where there are no more than n.

    Raises:
        DataError: if n is not positive.
    """
    if n < 1:
        raise DataError(f"{n} frames: expected at least 1")
    times = np.asarray(film.times_s)
    if len(times) <= n:
        return film.times_s
    length = times[-1] - times[0] + float(np.median(np.diff(times)))
    wanted = times[0] + (np.arange(n) + 0.5) * length / n
    after = np.searchsorted(times, wanted + 1e-6, side="right")
    shown = np.maximum(after - 1, 0)  # what is on the screen then
    shown = np.unique(shown)
    spare = np.setdiff1d(np.arange(len(times)), shown)[: n - len(shown)]  # a long still takes up one place only
    return tuple(times[np.sort(np.concatenate([shown, spare]))])


def frames_at(film: Film, times_s: Sequence[float]) -> Iterator[tuple[float, Image.Image]]:
    """Decode some frames, upright.

    Args:
        film: The film.
        times_s: The times of the frames, ascending, as `chosen_times` returns them.

    Yields:
        Time and RGB picture; there are fewer than asked for if the file breaks off.

    Raises:
        DataError: if none can be decoded.
    """
    if film.pictures:
        for time in times_s:
            yield time, read_picture(film.pictures[round(time * FOLDER_RATE)])
        return
    n = 0
    with _OpenFilm(film.path) as opened:
        for time, picture in _until_broken(opened.at(times_s, film.keys_s)):
            n += 1
            yield time, picture
    if n == 0:
        raise DataError(f"{film.path} has frames, but none of them can be decoded: the file is damaged")


class _OpenFilm:
    """A film file that is open for reading, and its first video stream."""

    def __init__(self, path: Path) -> None:
        av = require("av", extra="video")
        try:
            self.container = av.open(str(path))
        except (OSError, ValueError) as error:  # FFmpeg's errors are both
            raise DataError(f"{path} cannot be read as a film: {_reason(error)}") from error
        # The picture on the sleeve of a piece of music is a video stream, too.
        streams = [one for one in self.container.streams.video if "attached_pic" not in str(one.disposition).lower()]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            self.container.close()
            raise DataError(f"{path} shows no picture: it holds {kinds} only")
        self.stream = streams[0]
        self.stream.thread_type = "SLICE"

    def __enter__(self) -> "_OpenFilm":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def shown(self) -> Iterator[tuple[float, bool]]:
        """Yield the time of each frame in the order of the file, and whether decoding can start there."""
        for packet in _until_broken(self.container.demux(self.stream)):
            if packet.pts is not None and packet.size:
                yield float(packet.pts * packet.time_base), packet.is_keyframe

    def at(self, times_s: Sequence[float], keys_s: Sequence[float]) -> Iterator[tuple[float, Image.Image]]:
        """Yield the first frame at or after each time, upright; decoding starts from the last key before it."""
        base, keys = float(self.stream.time_base), np.asarray(keys_s)
        slack = base / 2
        frames, now = self.container.decode(self.stream), -float("inf")
        for time in times_s:
            key = keys[keys <= time + slack]
            if len(key) and key[-1] > now + slack and now > -float("inf"):  # seeking saves decoding what lies between
                self.container.seek(round(key[-1] / base), stream=self.stream, backward=True)
                frames = self.container.decode(self.stream)
            for frame in frames:
                now = now if frame.time is None else frame.time
                if now >= time - slack:
                    turn = round(getattr(frame, "rotation", 0)) % 360
                    picture = frame.to_image()
                    yield time, picture.rotate(turn, expand=True) if turn else picture
                    break


def _until_broken(items: Iterator[T]) -> Iterator[T]:
    """Yield items up to the place where a damaged file cannot be read on."""
    while True:
        try:
            yield next(items)
        except (StopIteration, OSError, ValueError):  # FFmpeg's errors are one of the last two
            return


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _natural(file: Path) -> list[tuple[int, str]]:
    """Return a key that sorts frame2 before frame10."""
    parts = re.findall(r"\d+|\D+", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
