"""A network, and small pictures of which one is broken."""

from pathlib import Path

import pytest
from PIL import Image

from l2caf.data.digit_scenes import DigitScenes
from l2caf.models import LoadedModel, load


@pytest.fixture(scope="session")
def digits() -> LoadedModel:
    return load("embedded/digits")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 pictures of other sizes than the network's, in two folders; number 20 is broken."""
    folder = tmp_path_factory.mktemp("scenes")
    made = DigitScenes("test", objects=2, length=13, seed=4)
    for number in range(52):
        file = folder / ("a" if number < 30 else "b") / f"{number:02d}.png"
        file.parent.mkdir(exist_ok=True)
        picture = Image.fromarray(made[number % 13].image).rotate(90 * (number // 13))
        picture.resize((64 + number % 3, 48)).save(file)
    (folder / "a" / "20.png").write_bytes(b"no picture")
    return folder
