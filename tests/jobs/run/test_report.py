"""The page of a run: what it says, how it is chosen, and that it works in a real browser."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2caf.errors import DataError, RunError, StorageError
from l2caf.jobs.run import Local, RunOptions, open_source, results, run
from l2caf.jobs.run.report import write_report
from l2caf.jobs.run.summary import Smallest, relative, summarize
from l2caf.models import LoadedModel

HOSTILE = "\"'><script>document.title='owned'<&script>.png"
OPTIONS = RunOptions(targets="top2", what=("filter",), compare="gradcam", batch_size=16, shard_size=16)


@pytest.fixture(scope="module")
def hostile_scenes(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "in"
    shutil.copytree(scenes, folder)
    (folder / "b" / "40.png").rename(folder / "b" / HOSTILE)
    (folder / "a" / "20.png").rename(folder / "a" / "<img src=x onerror=alert(1)>\u202egnp.png")
    return folder


@pytest.fixture(scope="module")
def folder(hostile_scenes: Path, digits: LoadedModel) -> Path:
    run(open_source(str(hostile_scenes)), digits, hostile_scenes.parent / "run", OPTIONS, engine=Local(0))
    return hostile_scenes.parent / "run"


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    write_report(results(folder), folder.parent / "report.html", n_shown=60)
    return folder.parent / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1100,900",
    ):
        options.add_argument(argument)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


def test_the_same_run_gives_the_same_page_whose_size_is_bounded(folder: Path, page: Path, tmp_path: Path) -> None:
    assert write_report(results(folder), tmp_path / "again.html", n_shown=60) == 60
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    assert write_report(results(folder), tmp_path / "small.html", n_shown=6) == 6
    assert (tmp_path / "small.html").stat().st_size < page.stat().st_size / 3
    with pytest.raises(RunError, match="2 maps are too few"):
        write_report(results(folder), tmp_path / "none.html", n_shown=2)


def test_lists_are_those_of_all_rows(folder: Path) -> None:
    frame = results(folder).to_pandas()
    summary = summarize(results(folder), 10, 10)
    assert summary.n_rows == len(frame) == 102
    assert summary.n_pictures == 51
    assert summary.largest_loss == frame["loss"].sort_values(ascending=False, kind="stable").index[:10].tolist()
    assert summary.lowest_agreement == frame["agreement"].sort_values(kind="stable").index[:10].tolist()
    assert summary.counts.sum() == 102
    assert summary.certificates == frame["certificate"].value_counts().to_dict()
    assert summary.classes == frame["target"].value_counts().to_dict()


def test_the_smallest_are_kept_whatever_the_pieces() -> None:
    keys = np.random.default_rng(0).integers(0, 20, 300).astype(float)
    keys[::7] = np.nan
    whole, pieces = Smallest(25), Smallest(25)
    whole.add(keys, np.arange(300))
    for start in range(0, 300, 70):
        pieces.add(keys[start : start + 70], np.arange(start, min(300, start + 70)))
    assert whole.rows.tolist() == pieces.rows.tolist()
    assert np.all(np.diff(keys[whole.rows]) >= 0)
    assert keys[whole.rows].max() <= np.nanmin(np.delete(keys, whole.rows))


def test_class_oblivious_losses_are_put_as_shares_of_the_uniform_filters() -> None:
    rows = {"loss": np.array([1.0, 2.0]), "uniform_loss": np.array([4.0, 0.0]), "target": np.array([np.nan, np.nan])}
    assert np.array_equal(relative(rows), [0.25, np.nan], equal_nan=True)
    assert np.array_equal(relative(rows | {"target": np.array([3.0, 4.0])}), [1.0, 2.0])


def test_pictures_that_are_gone_and_runs_that_are_not_finished_are_said(
    hostile_scenes: Path, digits: LoadedModel, tmp_path: Path
) -> None:
    shutil.copytree(hostile_scenes, tmp_path / "in")
    options = replace(OPTIONS, targets=None, compare=None, what=("filter", "overlay"))
    run(open_source(str(tmp_path / "in")), digits, tmp_path / "run", options, engine=Local(0))
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "run" / "shards" / "00000003.parquet").unlink()
    write_report(results(tmp_path / "run"), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The run is not finished: 4 pictures are still to come." in text
    assert "this is the overlay that the run kept" in text
    assert "All 47 maps of the run." in text


def test_a_run_without_any_map_has_a_page_that_says_why(digits: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere.png\n", encoding="utf-8")
    run(open_source(str(tmp_path / "list.txt")), digits, tmp_path / "run", OPTIONS, engine=Local(0))
    assert write_report(results(tmp_path / "run"), tmp_path / "report.html") == 0
    assert "nowhere.png is missing" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"row 0 does not exist; .* holds no rows"):
        results(tmp_path / "run").row(0)


def test_an_earlier_page_stays_whole_when_the_new_one_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("earlier", encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        write_report(results(folder), tmp_path / "report.html", n_shown=3)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "earlier"
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        write_report(results(folder), tmp_path / "report.html" / "a" / "b.html", n_shown=3)


def test_hostile_names_are_shown_and_never_run(browser: Any, folder: Path, tmp_path: Path) -> None:
    assert write_report(results(folder), tmp_path / "all.html", n_shown=400) == 102
    browser.get((tmp_path / "all.html").as_uri())
    assert browser.title == "Where the network looks"
    names = {element.get_attribute("textContent") for element in browser.find_elements("css selector", ".card h3")}
    assert f"b/{HOSTILE}" in names
    assert len(browser.find_elements("tag name", "script")) == 1


def eventually(browser: Any, holds: Callable[[], bool]) -> None:
    """Wait for a change of the page, however slow the machine is."""
    ui = pytest.importorskip("selenium.webdriver.support.ui")
    ui.WebDriverWait(browser, 60).until(lambda _: holds())


def eventually_says(browser: Any, words: str) -> None:
    eventually(browser, lambda: browser.find_element("id", "count").text == words)


def chosen(browser: Any) -> str:
    return str(browser.find_element("css selector", "input[name=list]:checked").get_attribute("value"))


def shown(browser: Any) -> list[Any]:
    return [card for card in browser.find_elements("css selector", ".card") if card.is_displayed()]


def test_the_page_works_in_a_browser_by_mouse_and_keyboard(browser: Any, page: Path) -> None:
    browser.get(page.as_uri())
    assert browser.title == "Where the network looks"  # no name was run
    everything = shown(browser)
    assert len(everything) == 60
    numbers = [card.get_attribute("data-label") for card in everything]
    eventually_says(browser, "60 maps")
    assert not browser.find_element("id", "errors").is_displayed()

    browser.find_element("css selector", "input[value=loss]").find_element("xpath", "..").click()
    eventually_says(browser, "20 maps")
    losses = [float(card.get_attribute("data-loss")) for card in shown(browser)]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    browser.switch_to.active_element.send_keys(keys.ARROW_RIGHT)  # the next list, by keyboard
    eventually(browser, lambda: chosen(browser) == "agreement")
    agreements = [float(card.get_attribute("data-agreement")) for card in shown(browser)]
    assert agreements == sorted(agreements)

    browser.switch_to.active_element.send_keys(keys.ARROW_RIGHT)
    eventually_says(browser, "1 picture")
    assert not shown(browser)
    table = browser.find_element("id", "errors").text
    assert "<img src=x onerror=alert(1)>\\u202egnp.png" in table
    assert "cannot be read as a picture" in table

    browser.find_element("css selector", "input[value=all]").find_element("xpath", "..").click()
    eventually_says(browser, "60 maps")
    option = browser.find_elements("css selector", "#label option")[1]
    option.click()
    n = numbers.count(option.get_attribute("value"))
    eventually_says(browser, f"{n} map{'' if n == 1 else 's'}")
    labels = {card.find_element("class name", "label").text for card in shown(browser)}
    assert labels == {option.text}

    slider = shown(browser)[0].find_element("css selector", ".wipe input")
    slider.send_keys(keys.HOME)
    for _ in range(8):
        slider.send_keys(keys.ARROW_RIGHT)
    card = shown(browser)[0]
    eventually(browser, lambda: slider.get_attribute("aria-valuetext") == "40 % map")
    assert "60%" in card.find_element("class name", "heat").value_of_css_property("clip-path")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(browser: Any, page: Path, scheme: str) -> None:
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    browser.get(page.as_uri())
    paper = luminance(browser.find_element("tag name", "body").value_of_css_property("background-color"))
    assert (paper > 0.5) == (scheme == "light")
    for selector in ("h1", ".card h3", ".card dt", "#count", "fieldset input:checked + span"):
        element = browser.find_element("css selector", selector)
        behind = paper if selector[0] != "f" else luminance(element.value_of_css_property("background-color"))
        text = luminance(element.value_of_css_property("color"))
        assert (max(behind, text) + 0.05) / (min(behind, text) + 0.05) >= 4.5, selector  # WCAG 2.1, AA


def luminance(colour: str) -> float:
    """Of `rgb(...)`, as WCAG 2.1 defines it."""
    channels = np.array([float(part) for part in colour.split("(")[1].rstrip(")").split(",")[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
