"""The main job: pictures and a network in, maps and a page out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from l2caf import pictures, storage
from l2caf.attention import L2CAF, Attention
from l2caf.attention.targets import Target
from l2caf.data.pictures import Region, prepare, read_picture
from l2caf.errors import DataError
from l2caf.models import LoadedModel
from l2caf.solvers import Descent
from l2caf.viz.animation import frames, write_gif, write_mp4
from l2caf.viz.panels import Framing, panel, shown
from l2caf.viz.report import Entry, Panel, Summary, write_report


@dataclass(frozen=True, slots=True)
class Request:
    """A picture to explain.

    Attributes:
        file: where it is.
        target: classes, as for `L2CAF`; None for the class-oblivious map only.
    """

    file: Path
    target: Target = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What a run of `explain` did.

    Attributes:
        folder: where the results are.
        done: names of the pictures explained.
        skipped: files that could not be read, with the reason.
    """

    folder: Path
    done: Sequence[str]
    skipped: Sequence[tuple[str, str]]


def explain(  # noqa: PLR0913  (what, with what, whereto; the rest by keyword)
    requests: Sequence[Request],
    loaded: LoadedModel,
    caf: L2CAF,
    output: Path,
    *,
    overwrite: bool = False,
    animate: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Explained:
    """Explain pictures and write overlays, filters and a page, whole or not at all.

    Args:
        requests: picture files and what to ask of each.
        loaded: the network and how to feed it.
        caf: the explainer, around `loaded.model`.
        output: a folder that does not exist yet.
        overwrite: replace an earlier result there.
        animate: also write the paper's descent from its random start, as GIF and MP4.
        report: called with pictures done and in all.

    Returns:
        What was done. Unreadable pictures are listed and the rest is explained.

    Raises:
        DataError: if no picture could be read.
        StorageError: if the folder exists or cannot be written.
        ExtraMissingError: if films are asked for and PyAV is not installed.
    """
    entries: list[Entry] = []
    skipped: list[tuple[str, str]] = []
    layer = ""
    with storage.new_folder(output, overwrite=overwrite) as folder:
        for number, request in enumerate(requests):
            report(number, len(requests))
            try:
                picture = read_picture(request.file)
            except DataError as error:
                skipped.append((str(request.file), str(error)))
                continue
            if not entries:  # finding the layer is not part of the time of the first map
                caf(_prepared(picture, loaded)[0])
            entry, attentions = _explain_one(request, picture, loaded, caf)
            entries.append(entry)
            layer = f"{attentions[0].layer} ({attentions[0].layout})"
            place = folder / f"{number:05d}-{request.file.stem}"
            _write_maps(place, entry, attentions)
            if animate:
                _write_animations(place, request, picture, loaded, caf)
        report(len(requests), len(requests))
        if not entries:
            raise DataError(f"none of {len(requests)} pictures could be read; the first: {skipped[0][1]}")
        settings = {"network": loaded.name, "layer": layer, "pictures": str(len(entries)), "fit": loaded.card.fit or ""}
        write_report(folder / "index.html", "Where the network looks", Summary(settings, skipped), entries)
        storage.write_manifest(folder, {"format": "l2caf.explain/1", "skipped": skipped, **settings})
    return Explained(output, [entry.name for entry in entries], skipped)


def _explain_one(
    request: Request, picture: Image.Image, loaded: LoadedModel, caf: L2CAF
) -> tuple[Entry, list[Attention]]:
    inputs, region = _prepared(picture, loaded)
    picture, region = shown(picture, region)
    attentions, panels = [], []
    for target in (None, request.target) if request.target is not None else (None,):
        start = time.perf_counter()
        attention = caf(inputs, target)
        seconds = (time.perf_counter() - start) / attention.filter.shape[1]
        attentions.append(attention)
        panels += _panels(attention, picture.size, region, loaded.card.labels, seconds)
    return Entry(request.file.name, np.asarray(picture), panels), attentions


def _prepared(picture: Image.Image, loaded: LoadedModel) -> tuple[Float[Tensor, "1 3 h w"], Region]:
    inputs, region = prepare(picture, **loaded.card.feeding)
    return inputs[None].to(loaded.device), region


def _write_animations(folder: Path, request: Request, picture: Image.Image, loaded: LoadedModel, caf: L2CAF) -> None:
    slow = replace(caf, solver=Descent(keep_trace=True))
    inputs, region = _prepared(picture, loaded)
    x0, y0, x1, y1 = map(round, region)
    seen = np.asarray(picture.crop((x0, y0, x1, y1)))
    for target, kind in ((None, "oblivious"), (request.target, "specific")):
        if target is None and kind == "specific":
            continue
        attention = slow(inputs, target)
        labels = [_label(attention, column, loaded.card.labels) for column in range(attention.filter.shape[1])]
        images = frames(attention, 0, seen, labels)
        write_gif(folder / f"{kind}.gif", images)
        write_mp4(folder / f"{kind}.mp4", images)


def _panels(
    attention: Attention, size: tuple[int, int], region: Region, labels: Sequence[str] | None, seconds: float
) -> list[Panel]:
    columns = range(attention.filter.shape[1])
    return [
        panel(attention, (0, column), _label(attention, column, labels), Framing(size, region, seconds))
        for column in columns
    ]


def _label(attention: Attention, column: int, labels: Sequence[str] | None) -> str:
    run = "" if attention.call is None else f", run {attention.call[column]} of {attention.layer}"
    if attention.target is None:
        return f"all that it says (class-oblivious){run}"
    number = int(attention.target[0, column])
    if labels is None or number >= len(labels) or labels[number] == str(number):
        return f"class {number}{run}"
    return f"{labels[number]} ({number}){run}"


def _write_maps(folder: Path, entry: Entry, attentions: Sequence[Attention]) -> None:
    folder.mkdir()
    for attention, kind in zip(attentions, ("oblivious", "specific"), strict=False):
        attention.save(folder / kind)
    for number, shown_map in enumerate(entry.panels):
        Image.fromarray(pictures.overlay(entry.picture, shown_map.heatmap)).save(folder / f"map-{number}.png")
