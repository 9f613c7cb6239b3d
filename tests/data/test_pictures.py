from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from l2caf.data.pictures import find_pictures, prepare, read_picture
from l2caf.errors import DataError

RED = np.full((20, 30, 3), (200, 30, 10), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "RGBA", "L", "LA", "1"])
def test_every_mode_is_read_as_rgb_with_its_colours(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(RED).convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    picture = read_picture(path)
    assert picture.mode == "RGB"
    assert picture.size == (30, 20)
    if mode in ("RGB", "CMYK", "P", "RGBA"):
        assert np.abs(np.asarray(picture, dtype=int) - RED).max() <= 25


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 16384, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert np.asarray(read_picture(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 64, 128, 255]


def test_transparency_is_laid_on_white_and_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(read_picture(tmp_path / "clear.png")).min() == 255
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "x.gif").getpixel((0, 0)) == (255, 0, 0)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RED).save(tmp_path / "x.jpg", exif=exif)
    assert read_picture(tmp_path / "x.jpg").size == (20, 30)


def test_a_hundred_megapixel_jpeg_is_read_at_a_bounded_size(tmp_path: Path) -> None:
    Image.new("L", (10_000, 10_000), 77).save(tmp_path / "x.jpg")
    assert max(read_picture(tmp_path / "x.jpg").size) <= 5000


@pytest.mark.parametrize("case", ["missing", "empty", "text", "truncated", "folder"])
def test_unreadable_files_are_data_errors_that_name_the_file(case: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    if case == "empty":
        path.touch()
    elif case == "text":
        path.write_text("hello", encoding="utf-8")
    elif case == "truncated":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif case == "folder":
        path.mkdir()
    with pytest.raises(DataError, match=r"x\.jpg"):
        read_picture(path)


def test_folders_are_searched_and_hidden_files_skipped(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", ".hidden.png", "notes.txt", "deep/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_pictures([tmp_path])] == ["a.jpg", "b.png", "c.webp"]
    with pytest.raises(DataError, match="does not exist"):
        find_pictures([tmp_path / "no.png"])


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["squash", "crop", "pad"]))
def test_the_region_has_the_inputs_aspect_unless_squashed_and_is_centred(width: int, height: int, fit: str) -> None:
    tensor, (x0, y0, x1, y1) = prepare(Image.new("RGB", (width, height)), size=(32, 48), mean=[0.5], std=[0.5], fit=fit)  # type: ignore[arg-type]
    assert tensor.shape == (3, 32, 48)
    assert (x0 + x1, y0 + y1) == pytest.approx((width, height))
    if fit != "squash":
        assert (x1 - x0) / (y1 - y0) == pytest.approx(48 / 32)
    inside = x0 >= -1e-6 and y0 >= -1e-6
    assert inside or fit == "pad"


def test_pixels_are_normalised_by_mean_and_deviation() -> None:
    tensor, _ = prepare(Image.fromarray(RED), size=(20, 30), mean=[0.5, 0.4, 0.3], std=[0.5, 0.25, 0.2])
    expected = (torch.tensor([200, 30, 10]) / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.5, 0.25, 0.2])
    assert torch.allclose(tensor[:, 3, 7], expected)


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_a_share_of_each_side_is_taken_from_the_middle(fit: str) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    whole = (0, 0, 96, 64) if fit == "squash" else (16, 0, 80, 64)
    dx, dy = (whole[2] - whole[0]) // 8, (whole[3] - whole[1]) // 8
    inner = (whole[0] + dx, whole[1] + dy, whole[2] - dx, whole[3] - dy)
    taken, region = prepare(picture, size=(16, 16), mean=(0.0,), std=(1.0,), fit=fit, crop=0.75)
    assert region == inner
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR, box=inner)) / 255
    np.testing.assert_allclose(taken.permute(1, 2, 0), expected, atol=1e-6)


def test_channels_and_resizing_are_those_of_the_network() -> None:
    picture = Image.fromarray(RED)
    backwards, _ = prepare(picture, size=(20, 30), mean=(0.1, 0.2, 0.3), std=(1.0,), channels="bgr")
    np.testing.assert_allclose(backwards[:, 0, 0], np.array([10, 30, 200]) / 255 - [0.1, 0.2, 0.3], atol=1e-6)
    padded, _ = prepare(picture, size=(40, 30), mean=(0.1, 0.2, 0.3), std=(1.0,), channels="bgr", fit="pad")
    assert padded[:, 0, 0].abs().max() < 0.003  # the border is as grey as the mean
    stripes = Image.fromarray(np.tile(np.array([[0], [255]], dtype=np.uint8)[..., None], (8, 16, 3)))
    nearest, _ = prepare(stripes, size=(32, 32), mean=(0.0,), std=(1.0,), resample="nearest")
    assert set(nearest.unique().tolist()) == {0, 1}
