from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.support import networks

from l2caf import L2CAF, Descent, QuasiNewton
from l2caf.errors import DataError, StorageError
from l2caf.viz.animation import frames, write_gif, write_mp4

PICTURE = np.full((31, 47, 3), 90, dtype=np.uint8)


@pytest.mark.parametrize("solver", [Descent(max_iterations=120, keep_trace=True), QuasiNewton(keep_trace=True)])
def test_any_solvers_trace_becomes_a_film_with_a_panel_per_target(solver: object, tmp_path: Path) -> None:
    attention = L2CAF(networks.gap(), solver=solver)(networks.pictures(2), "top2")  # type: ignore[arg-type]
    assert attention.trace is not None
    assert attention.trace.loss.shape == attention.trace.filter.shape[:3]
    images = frames(attention, 1, PICTURE, ["a", "b"])
    assert 3 <= len(images) <= 73
    assert {image.shape for image in images} == {images[0].shape}
    assert all(side % 2 == 0 for side in images[0].shape[:2])
    write_gif(tmp_path / "a.gif", images)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames > len(images) // 2  # equal neighbours are merged
        assert gif.info["loop"] == 0
    write_mp4(tmp_path / "a.mp4", images)
    with av.open(str(tmp_path / "a.mp4")) as film:
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(decoded) >= len(images)
    assert decoded[0].shape == images[0].shape
    assert np.abs(decoded[-1].astype(int) - images[-1].astype(int)).mean() < 12


def test_the_last_loss_of_a_trace_is_the_loss_of_its_last_filter() -> None:
    solver = Descent(max_iterations=40, keep_trace=True)
    attention = L2CAF(networks.gap(), solver=solver)(networks.pictures(2))
    assert attention.trace is not None
    assert float(attention.trace.loss.amin()) == pytest.approx(float(attention.loss.amin()), rel=1e-5)


def test_without_a_trace_or_a_place_to_write_to_the_error_says_so(tmp_path: Path) -> None:
    attention = L2CAF(networks.gap())(networks.pictures(1))
    with pytest.raises(DataError, match="keep_trace=True"):
        frames(attention, 0, PICTURE, ["a"])
    for name, write in (("film.gif", write_gif), ("film.mp4", write_mp4)):
        with pytest.raises(StorageError, match="cannot be written"):
            write(tmp_path / "missing" / name, [PICTURE[:30, :46]])
