"""The page of a whole run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from l2caf.viz.gallery import Card, Histogram, Overview, write_gallery

PICTURE = np.zeros((20, 40, 3), dtype=np.uint8)
CARD = Card("a.png", PICTURE, np.eye(4), "class 10", 0.5, None, ("sample",), {"loss": "0.5"})
OVERVIEW = Overview(
    "Two pictures.", {"layer": "3"}, {"maps": "2"}, {"global": (3, "proven"), "stopped": (1, "limit")}, None, "All."
)


def page(folder: Path, *cards: Card, overview: Overview = OVERVIEW) -> str:
    write_gallery(folder / "index.html", "Run", overview, cards)
    return (folder / "index.html").read_text(encoding="utf-8")


def test_classes_are_sorted_by_their_numbers_and_cards_point_at_theirs(tmp_path: Path) -> None:
    text = page(tmp_path, CARD, replace(CARD, label="class 9"))
    assert text.index('<option value="0">class 9</option>') < text.index('<option value="1">class 10</option>')
    assert re.findall(r'data-label="(\d)"', text) == ["1", "0"]


def test_only_lists_with_something_in_them_can_be_chosen(tmp_path: Path) -> None:
    found = page(tmp_path, CARD, replace(CARD, groups=("loss",)))
    assert re.findall(r'name="list" value="(\w+)"', found) == ["all", "loss"]
    failed = replace(OVERVIEW, failures=[("b.png", "is <empty>")], n_failures=1200)
    found = page(tmp_path, CARD, overview=failed)
    assert re.findall(r'name="list" value="(\w+)"', found) == ["all", "errors"]
    assert "1,200" in found
    assert "is &lt;empty&gt;" in found


def test_certificates_say_their_share_and_losses_their_distribution_in_words(tmp_path: Path) -> None:
    losses = Histogram("loss", np.array([0.0, 1.0, 2.0]), np.array([3, 1]))
    text = page(tmp_path, CARD, overview=replace(OVERVIEW, losses=losses))
    assert 'style="width:75.0%"' in text
    assert "loss from 0 to 2; most between 0 and 1 (3 maps)" in text
