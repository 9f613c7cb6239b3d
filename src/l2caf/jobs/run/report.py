"""The page of a run: its figures, and a bounded choice of its maps."""

from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from l2caf.errors import DataError, RunError, StorageError
from l2caf.jobs.explain import class_name
from l2caf.jobs.run.reading import Results, RowValues
from l2caf.jobs.run.shards import all_failures
from l2caf.jobs.run.summary import RunSummary, relative, summarize
from l2caf.solvers import Certificate
from l2caf.storage import JsonObject
from l2caf.viz.gallery import Card, Histogram, Overview, write_gallery
from l2caf.viz.page import four_digits

SHOWN_PX: Final = 320
SHOWN_FAILURES: Final = 200
MISSING: Final = "The picture is not where it was."
KEPT: Final = "The picture is not where it was; this is the overlay that the run kept."


def write_report(results: Results, path: Path, *, n_shown: int = 120) -> int:
    """Write one self-contained page for a run of any size.

    Args:
        results: the results of a run, finished or not.
        path: the HTML file to write.
        n_shown: the largest number of maps in the page. At most a third of them are the ones with the largest loss, and
            another third the ones with the lowest agreement, if a second method was asked for. The rest are drawn
            evenly by row number.

    Returns:
        The number of maps in the page.

    Raises:
        RunError: if no map could be shown by that number.
        StorageError: if the page cannot be written.
    """
    if n_shown < 3:
        raise RunError(f"{n_shown} maps are too few for a page; expected at least 3")
    n_lists = 3 if results.manifest["settings"]["compare"] else 2
    n_listed = n_shown // n_lists
    summary = summarize(results, n_listed, n_shown)
    lists = {"loss": summary.largest_loss, "agreement": summary.lowest_agreement}
    lists["sample"] = _filling(summary, n_shown)
    numbers = sorted({number for some in lists.values() for number in some})
    rows = results.rows(numbers)
    cards = [
        _card(results, row, [name for name, some in lists.items() if number in some])
        for number, row in zip(numbers, rows, strict=True)
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    write_gallery(path, "Where the network looks", _overview(results, summary, lists["sample"], len(cards)), cards)
    return len(cards)


def _filling(summary: RunSummary, n_shown: int) -> list[int]:
    """Take as many drawn rows as there is room for beside the lists."""
    listed = {*summary.largest_loss, *summary.lowest_agreement}
    return [number for number in summary.sample if number not in listed][: n_shown - len(listed)]


def _overview(results: Results, summary: RunSummary, drawn: list[int], n_cards: int) -> Overview:
    settings, n_inputs = results.manifest["settings"], results.manifest["inputs"]["pictures"]
    n_failures = sum(1 for _ in all_failures(results.folder))
    notes = {one.label: (summary.certificates[one.label], one.value) for one in Certificate}
    specific = settings["targets"] is not None
    return Overview(
        lede=_lede(results, summary, n_inputs, n_failures),
        settings=_settings(settings) | {"pictures": str(results.manifest["given"])},
        counts={
            "pictures explained": f"{summary.n_pictures:,}", "maps": f"{summary.n_rows:,}",
            "not explained": f"{n_failures:,}", "classes": f"{len(summary.classes):,}",
            "proven best": _share(summary.certificates["global"], summary.n_rows),
            "undecided": f"{summary.undecided:,}",
        },
        certificates={name: pair for name, pair in notes.items() if pair[0]},
        losses=Histogram(_loss_name(specific=specific), summary.edges, summary.counts) if summary.n_rows else None,
        sample=_sample(summary, len(drawn), n_cards) + _compared(settings),
        failures=[(one.path, one.reason) for one in islice(all_failures(results.folder), SHOWN_FAILURES)],
        n_failures=n_failures,
    )  # fmt: skip


def _lede(results: Results, summary: RunSummary, n_inputs: int, n_failures: int) -> str:
    settings = results.manifest["settings"]
    kind = "class-oblivious" if settings["targets"] is None else f"class-specific ({settings['targets']})"
    lede = f"{settings['network']}, layer {settings['layer']}: {kind} maps of {n_inputs:,} pictures."
    if results.is_complete:
        return lede
    return f"{lede} The run is not finished: {n_inputs - summary.n_pictures - n_failures:,} pictures are still to come."


def _sample(summary: RunSummary, n_drawn: int, n_cards: int) -> str:
    if n_cards == summary.n_rows:
        return f"All {n_cards:,} maps of the run."
    lists = [f"the {len(summary.largest_loss):,} with the largest loss"]
    lists += [f"the {len(summary.lowest_agreement):,} with the lowest agreement"] * bool(summary.lowest_agreement)
    return (
        f"{n_cards:,} of {summary.n_rows:,} maps: {', '.join(lists)}, and {n_drawn:,} drawn evenly from the others by "
        "their row number; the same ones whenever the page is made."
    )


def _compared(settings: JsonObject) -> str:
    return f" Agreement is the cosine with the map of {settings['compare']}." if settings["compare"] else ""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _loss_name(*, specific: bool) -> str:
    return "loss (Eq. 2)" if specific else "loss, as a share of the uniform filter's"


def _settings(settings: JsonObject) -> dict[str, str]:
    hidden = {"arguments", "versions", "preprocessing", "what"}
    flat = {name.replace("_", " "): str(value) for name, value in settings.items() if name not in hidden}
    nested = {
        name: ", ".join(f"{key} {value}" for key, value in settings[name].items())
        for name in ("preprocessing", "versions")
    }
    return {name: value for name, value in (flat | nested).items() if value != "None"}


def _card(results: Results, row: RowValues, groups: list[str]) -> Card:
    picture, heat, note = _drawn(results, row)
    target = row["target"]
    arrays = {name: np.array([row[name]], np.float64) for name in ("loss", "uniform_loss", "target")}
    measure, agreement = float(relative(arrays)[0]), row.get("agreement")
    facts = {"loss": four_digits(row["loss"]), "uniform filter": four_digits(row["uniform_loss"])}
    facts |= {} if target is not None else {"share": f"{measure:.1%}"}
    facts |= {} if agreement is None else {"agreement": f"{agreement:.3f}"}
    facts["certificate"] = row["certificate"] + (", undecided" if row["undecided"] else "")
    said = class_name(row["prediction"] if target is None else target, results.manifest["labels"])
    label = said if target is not None else f"says {said}"
    return Card(row["path"], picture, heat, label, measure, agreement, groups, facts, note)


def _drawn(results: Results, row: RowValues) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Picture and map; or what there is of them, and a note."""
    size = _fitted(row["width"], row["height"])
    heat = results.heatmap(row, size) if row.get("filter") is not None and len(results.grid) == 2 else None
    try:
        picture = results.source.picture(row["index"])
    except (DataError, RunError, OSError):
        if row.get("overlay") is not None:
            return results.kept_overlay(row), None, KEPT
        return np.full((size[1], size[0], 3), 128, np.uint8), heat, MISSING
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR)), heat, ""


def _fitted(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SHOWN_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
