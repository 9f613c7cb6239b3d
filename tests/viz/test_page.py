"""What all pages share."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2caf.viz.page import counted, escaped, four_digits, heat_uri, where, write_page


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("<script>&\"'", "&lt;script&gt;&amp;&quot;&#x27;"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("a\x00b\nc", "a\\u0000b c"),
        ("caf\udce9", "caf\\udce9"),
        ("čaj 茶", "čaj 茶"),
    ],
)
def test_hostile_text_is_escaped_and_other_text_is_left_alone(raw: str, shown: str) -> None:
    assert escaped(raw) == shown


def test_numbers_are_written_for_people() -> None:
    assert [counted(n, "map") for n in (0, 1, 1000)] == ["0 maps", "1 map", "1,000 maps"]
    assert four_digits(-0.123456) == "\N{MINUS SIGN}0.1235"


def test_the_place_of_the_maximum_is_said_in_words() -> None:
    heat = np.zeros((9, 9))
    assert where(heat) == "zero throughout"
    heat[8, 4] = 1
    assert where(heat) == "strongest at bottom centre"


def test_a_map_is_as_transparent_as_it_is_cold() -> None:
    heat = np.linspace(0, 1, 256)[None].repeat(4, axis=0)[:, ::2]
    with Image.open(io.BytesIO(base64.b64decode(heat_uri(heat).partition(",")[2]))) as image:
        alpha = np.asarray(image.convert("RGBA"))[0, :, 3]
    assert alpha.tolist() == (heat[0] * 255).round().tolist()
    with Image.open(io.BytesIO(base64.b64decode(heat_uri(heat, opaque=True).partition(",")[2]))) as image:
        assert (np.asarray(image.convert("RGBA"))[..., 3] == 255).all()


def test_a_page_runs_its_own_script_and_no_other(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "<title>", "", "<p>body</p>", "let a = 1")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;title&gt;" in page
    assert "default-src 'none'" in page
    assert "'sha256-" in page
    assert "unsafe-inline" not in page.partition("script-src")[2].partition(";")[0]
