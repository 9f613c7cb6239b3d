"""Films made here: at a variable rate, turned, cut short, without a picture."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2caf.data.clips import chosen_times, frames_at, open_film
from l2caf.errors import DataError

av = pytest.importorskip("av")


def film(path: Path, ticks: Sequence[int], *, size: tuple[int, int] = (64, 48)) -> Path:
    """A film whose frame number i is grey 8 i, shown from tick i (of 1/1000 s), its top left corner white."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, tick in enumerate(ticks):
            picture = np.full((size[1], size[0], 3), 8 * number, np.uint8)
            picture[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(path: Path, n: int) -> list[int]:
    opened = open_film(path)
    found = frames_at(opened, chosen_times(opened, n))
    return [round(float(np.asarray(picture)[20:, 20:].mean()) / 8) for _, picture in found]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_frames_are_sampled_at_equal_steps_of_time(tmp_path: Path, suffix: str) -> None:
    path = film(tmp_path / f"film.{suffix}", range(0, 1200, 40))
    assert numbers(path, 3) == [5, 15, 25]
    assert numbers(path, 30) == list(range(30))


def test_a_variable_frame_rate_is_sampled_by_time_and_not_by_number(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [*range(0, 200, 10), 1000, 2000, 3000])
    assert numbers(path, 3) == [19, 20, 21]
    assert numbers(path, 4) == [0, 19, 20, 21]  # what is shown longest has one place only


def test_a_film_shorter_than_the_sample_gives_every_frame_once(tmp_path: Path) -> None:
    assert numbers(film(tmp_path / "film.mp4", [0, 40]), 16) == [0, 1]
    assert numbers(film(tmp_path / "one.mp4", [0]), 16) == [0]


@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), (0, -1)), ((0, -1, 1, 0), (-1, 0)), ((-1, 0, 0, -1), (-1, -1))]
)
def test_rotation_in_the_metadata_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    path = film(tmp_path / "film.mp4", [0, 40])
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))
    opened = open_film(path)
    _, picture = next(iter(frames_at(opened, opened.times_s)))
    pixels = np.asarray(picture)
    assert pixels.shape[:2] == ((48, 64) if matrix[0] else (64, 48))
    assert pixels[corner].mean() > 200


def test_a_film_that_breaks_off_gives_what_there_is_or_an_error(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", range(0, 1200, 40))
    content = path.read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) * 4 // 5])
    found = numbers(tmp_path / "half.mkv", 30)
    assert found == sorted(found)  # one of those that refer to each other may be missing
    assert found[:10] == list(range(10))
    assert 0 < len(found) < 30
    mp4 = film(tmp_path / "film.mp4", range(0, 1200, 40)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(mp4[: len(mp4) // 2])  # its index is at the end
    with pytest.raises(DataError, match="cannot be read as a film"):
        open_film(tmp_path / "half.mp4")


def test_what_shows_no_picture_is_refused_in_one_line(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="shows no picture: it holds audio only"):
        open_film(tmp_path / "sound.mp4")
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(DataError, match="cannot be read as a film"):
        open_film(tmp_path / "text.mp4")
    with pytest.raises(DataError, match="does not exist"):
        open_film(tmp_path / "missing.mp4")


def test_a_folder_of_pictures_is_a_film_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        Image.new("RGB", (64, 48), (8 * number,) * 3).save(tmp_path / f"frame{number}.png")
    assert numbers(tmp_path, 3) == [2, 6, 10]
    assert numbers(tmp_path, 50) == list(range(12))
