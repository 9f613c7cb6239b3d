"""Frames of a film or of a folder, sampled at equal steps of time, one at a time.

A film is read twice: once without decoding, for the time of every frame (which a variable frame rate, an edited file or
a missing index make the only thing to trust), and once to decode, seeking over what is not sampled. So an hour of film
costs no more memory than one frame and a number per frame.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from l2caf.data.pictures import find_pictures, read_picture
from l2caf.errors import DataError, ExtraMissingError

FOLDER_RATE: Final = 10.0  # frames per second that a folder of pictures is taken for


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a film before any frame is decoded.

    Attributes:
        path: a file, or a folder of pictures.
        times_s: when each frame is shown, ascending.
        keys_s: the frames among them from which decoding can start.
        pictures: the files, of a folder.
    """

    path: Path
    times_s: tuple[float, ...]
    keys_s: tuple[float, ...] = ()
    pictures: tuple[Path, ...] = ()


def open_film(path: Path) -> Film:
    """Find out which frames there are.

    Args:
        path: a film in any container that FFmpeg reads, or a folder of pictures, taken in natural order.

    Returns:
        The film; of a file that breaks off, what can be read.

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
    with _opened(path) as (container, stream):
        for packet in _until_broken(container.demux(stream)):
            if packet.pts is None or packet.size == 0:
                continue
            times.append(float(packet.pts * packet.time_base))
            if packet.is_keyframe:
                keys.append(times[-1])
    if not times:
        raise DataError(f"{path} has a video stream without frames")
    return Film(path, tuple(sorted(times)), tuple(sorted(keys)))


def chosen_times(film: Film, n: int) -> tuple[float, ...]:
    """The times of n frames in the middle of as many equal parts of a film.

    Args:
        film: the film.
        n: how many, at least 1.

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
        film: the film.
        times_s: ascending, as `chosen_times` gives them.

    Yields:
        Time and RGB picture; fewer than asked for where the file breaks off.

    Raises:
        DataError: if none can be decoded.
    """
    if film.pictures:
        for time in times_s:
            yield time, read_picture(film.pictures[round(time * FOLDER_RATE)])
        return
    n = 0
    with _opened(film.path) as (container, stream):
        for time, frame in _until_broken(_decoded(film, container, stream, times_s)):
            n += 1
            yield time, _upright(frame)
    if n == 0:
        raise DataError(f"{film.path} has frames, but none of them can be decoded: the file is damaged")


def _decoded(film: Film, container: Any, stream: Any, times_s: Sequence[float]) -> Iterator[tuple[float, Any]]:
    """The first frame at or after each time."""
    base, keys = float(stream.time_base), np.asarray(film.keys_s)
    slack = base / 2
    frames, now = container.decode(stream), -float("inf")
    for time in times_s:
        key = keys[keys <= time + slack]
        if len(key) and key[-1] > now + slack and now > -float("inf"):  # a later start than here
            container.seek(round(key[-1] / base), stream=stream, backward=True)
            frames = container.decode(stream)
        for frame in frames:
            now = now if frame.time is None else frame.time
            if now >= time - slack:
                yield time, frame
                break


def _upright(frame: Any) -> Image.Image:
    picture = frame.to_image()
    turn = round(getattr(frame, "rotation", 0)) % 360
    return picture.rotate(turn, expand=True) if turn else picture


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A container and its first video stream."""
    try:
        import av  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ExtraMissingError("films need PyAV: pip install 'l2caf[video]'") from error
    try:
        container = av.open(str(path))
    except (OSError, ValueError) as error:  # FFmpeg's errors are both
        raise DataError(f"{path} cannot be read as a film: {_reason(error)}") from error
    with container:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise DataError(f"{path} shows no picture: it holds {kinds} only")
        streams[0].thread_type = "SLICE"
        yield container, streams[0]


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is the picture on the sleeve of a piece of music."""
    return "attached_pic" in str(stream.disposition).lower()


def _until_broken(items: Iterator[Any]) -> Iterator[Any]:
    """Items up to the place where a damaged file cannot be read on."""
    while True:
        try:
            yield next(items)
        except (StopIteration, OSError, ValueError):  # FFmpeg's errors are one of the last two
            return


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _natural(file: Path) -> list[tuple[int, str]]:
    """A key by which frame2 comes before frame10."""
    parts = re.findall(r"\d+|\D+", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
