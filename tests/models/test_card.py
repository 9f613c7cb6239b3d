from pathlib import Path

import pytest

from l2caf.errors import WeightsError
from l2caf.models import ModelCard


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"size": 0}', r"size \(0, 0\), expected pixels from 1"),
        ('{"size": [224]}', r"size \(224,\)"),
        ('{"mean": [0.5, 0.4], "std": 0}', r"mean \(0.5, 0.4\), expected one finite number.*; std \(0,\)"),
        ('{"std": [0.2, 0.0, 0.2]}', "expected one positive number"),
        ('{"mean": [NaN]}', r"mean \(nan,\)"),
        ('{"fit": "stretch"}', "fit 'stretch', expected one of squash, crop"),
        ('{"frames": 0}', "frames 0, expected a number from 1"),
    ],
)
def test_a_card_by_which_no_picture_can_be_fed_names_itself_and_what_is_wrong(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "net.json").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=rf"net\.json: a picture cannot be fed to a network with .*{message}"):
        ModelCard.read(tmp_path / "net.json")
