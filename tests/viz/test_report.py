from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from l2caf.errors import StorageError
from l2caf.viz.report import Entry, Panel, Summary, write_report

PANEL = Panel(
    label="dog (208)",
    heatmap=np.eye(8, dtype=np.float32),
    loss=2.0,
    uniform_loss=8.0,
    certificate="global",
    certificate_note="proven",
    negative_share=0.01,
    unique=True,
    time_s=0.012,
    relative=True,
)
PICTURE = np.full((60, 90, 3), 128, dtype=np.uint8)
HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.exe\x00.jpg"


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder: Path, *panels: Panel, name: str = "a.jpg", skipped: tuple[tuple[str, str], ...] = ()) -> Page:
    write_report(folder / "p.html", "Title", Summary({"network": "net"}, skipped), [Entry(name, PICTURE, panels)])
    return Page(folder / "p.html")


def test_a_map_that_the_uniform_filter_equals_is_marked_undecided(tmp_path: Path) -> None:
    page = page_of(tmp_path, replace(PANEL, undecided=True, unique=False))
    assert page.text.count("undecided") >= 2
    assert "not unique</span>" not in page.text


def test_the_page_shows_every_map_with_its_losses_time_and_certificate(tmp_path: Path) -> None:
    page = page_of(tmp_path, PANEL, replace(PANEL, label="cat", certificate="stationary"))
    for expected in ("dog (208)", "cat", "75% below the uniform filter", "12 ms per map", "global", "stationary"):
        assert expected in page.text
    assert len(page.all("figure")) == 3 + 1  # the picture, two maps, and the larger view's place


def test_the_page_fetches_nothing_and_forbids_it(tmp_path: Path) -> None:
    page = page_of(tmp_path, PANEL)
    links = [value for _, attributes in page.tags for key, value in attributes.items() if key in {"src", "href"}]
    assert links
    assert all(value is not None and value.startswith(("data:image/", "#")) for value in links)
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_hostile_names_and_labels_are_shown_and_never_run(tmp_path: Path) -> None:
    hostile = replace(PANEL, label=HOSTILE, certificate_note=HOSTILE)
    page = page_of(tmp_path, hostile, name=HOSTILE, skipped=((HOSTILE, HOSTILE),))
    assert len(page.all("script")) == 1
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert "\u202e" not in page.source
    assert "\x00" not in page.source


def test_what_a_reader_must_doubt_is_marked(tmp_path: Path) -> None:
    page = page_of(tmp_path, replace(PANEL, negative_share=0.31, unique=False), skipped=(("b.jpg", "is empty"),))
    assert "31% negative" in page.text
    assert "not unique" in page.text
    assert "b.jpg" in page.text
    assert "1 file could not be explained" in page.text
    assert "negative" not in page_of(tmp_path, PANEL).text.replace("may be negative", "")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_or_map_that_is_not_finite_does_not_break_the_page(tmp_path: Path, loss: float) -> None:
    page = page_of(tmp_path, replace(PANEL, loss=loss, heatmap=np.full((3, 3), np.nan, dtype=np.float32)))
    assert "not comparable with the uniform filter" in page.text


def test_a_page_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(tmp_path / "missing" / "p.html", "t", Summary({}), [])
