"""The main job: pictures and a network in, maps and a page out."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from l2caf import pictures, storage
from l2caf.attention import L2CAF, Attention
from l2caf.attention.targets import Target, resolve_targets
from l2caf.data.feeding import Batch, PictureFiles, fed, in_turn
from l2caf.errors import DataError, L2CAFError, TargetError
from l2caf.methods import Method
from l2caf.models import LoadedModel
from l2caf.progress import Report, silent
from l2caf.solvers import Descent
from l2caf.viz.animation import frames, write_gif, write_mp4
from l2caf.viz.panels import Framing, map_panel, panel, shown
from l2caf.viz.report import Entry, Panel, Summary, write_report

Labels = Sequence[str] | None


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """A picture to explain.

    Attributes:
        file: the picture file.
        target: the classes to explain, as for `L2CAF`; None for the class-oblivious map only.
    """

    file: Path
    target: Target = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What a run of `explain` did.

    Attributes:
        folder: the folder that holds the results.
        done: the names of the pictures explained.
        skipped: the files that could not be read, with the reason.
    """

    folder: Path
    done: Sequence[str]
    skipped: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _MethodMap:
    """The maps (k, h, w) of another method for classes (k,); without classes it is one map of the whole output."""

    name: str
    maps: Float[np.ndarray, "k h w"]
    target: Int[np.ndarray, " k"] | None

    def save(self, folder: Path) -> None:
        """Write the maps as they are, and their classes, to one .npz file named after the method."""
        arrays = {"map": self.maps} | ({} if self.target is None else {"target": self.target})
        storage.write_arrays(folder / (re.sub(r"[^\w.-]+", "-", self.name) + ".npz"), arrays)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of one picture: its entry of the page, our maps, and those of other methods."""

    entry: Entry
    ours: list[Attention] = field(default_factory=list)
    others: list[_MethodMap] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write filters, arrays, and every map drawn over the picture."""
        folder.mkdir()
        for attention, kind in zip(self.ours, ("oblivious", "specific"), strict=False):
            attention.save(folder / kind)
        for other in self.others:
            other.save(folder)
        for number, one in enumerate(self.entry.panels):
            drawn = pictures.overlay(self.entry.picture, one.heatmap)
            Image.fromarray(drawn).save(folder / f"map-{number}.png")


def explain(  # noqa: PLR0913  (what, with what, whereto; the rest by keyword)
    requests: Sequence[PictureRequest],
    loaded: LoadedModel,
    caf: L2CAF,
    output: Path,
    *,
    methods: Mapping[str, Method] | None = None,
    overwrite: bool = False,
    animate: bool = False,
    report: Report = silent,
) -> Explained:
    """Explain pictures and write overlays, filters and a page, whole or not at all.

    Args:
        requests: the picture files and what to ask of each.
        loaded: the network and how to feed it.
        caf: the explainer, around `loaded.model`.
        output: a folder that does not exist yet.
        methods: methods by name, made for the same network and layer, whose maps are shown beside ours.
        overwrite: whether an earlier result there is replaced.
        animate: whether the paper's descent from its random start is written, too, as GIF and MP4.
        report: called with the number of pictures done and in all.

    Returns:
        What was done. Unreadable pictures are listed and the rest is explained.

    Raises:
        DataError: if no picture could be read.
        TargetError: if a method explains a class and none is asked for.
        StorageError: if the folder exists or cannot be written.
        ExtraMissingError: if films are asked for and PyAV is not installed.
        L2CAFError: if a method does not take this network; the message names the method.
    """
    methods = methods or {}
    _check_classes(requests, methods)
    entries: list[Entry] = []
    skipped: list[tuple[str, str]] = []
    layer = ""
    files = PictureFiles([request.file for request in requests])
    one_by_one = in_turn(range(len(files)), 1)
    feeding = fed(files, loaded.card.feeding, one_by_one, device=loaded.device, keep_pictures=True)
    with storage.new_folder(output, overwrite=overwrite) as folder, feeding as batches:
        for number, (request, batch) in enumerate(zip(requests, batches, strict=True)):
            report(number, len(requests))
            skipped += [(one.path, one.reason) for one in batch.failures]
            if not batch.numbers:
                continue
            if not entries:  # finding the layer is not part of the time of the first map
                caf(batch.inputs)
            found = _explain_one(request, batch, loaded.card.labels, caf, methods)
            entries.append(found.entry)
            layer = _layer_of(found.ours[0])
            found.save(place := folder / f"{number:05d}-{request.file.stem}")
            if animate:
                _write_animations(place, request.target, batch, loaded.card.labels, caf)
        report(len(requests), len(requests))
        if not entries:
            raise DataError(f"none of {len(requests)} pictures could be read; the first: {skipped[0][1]}")
        settings = _settings(loaded, layer, len(entries), methods)
        write_report(folder / "index.html", "Where the network looks", Summary(settings, skipped), entries)
        storage.write_manifest(folder, {"format": "l2caf.explain/1", "skipped": skipped, **settings})
    return Explained(output, [entry.name for entry in entries], skipped)


def _settings(loaded: LoadedModel, layer: str, n_pictures: int, methods: Mapping[str, Method]) -> dict[str, str]:
    """What the page and the manifest say of the whole run."""
    told = {"network": loaded.name, "layer": layer, "pictures": str(n_pictures), "fit": loaded.card.fit or ""}
    return told | ({"methods": ", ".join(methods)} if methods else {})


def _layer_of(attention: Attention) -> str:
    """The layer that was looked at, and whether it shows the picture."""
    asked, locality = attention.question, attention.locality
    return f"{asked.layer} ({asked.layout}); {locality.verdict.value}: {locality}"


def _check_classes(requests: Sequence[PictureRequest], methods: Mapping[str, Method]) -> None:
    asking = [name for name, method in methods.items() if method.needs_class]
    if asking and any(request.target is None for request in requests):
        raise TargetError(
            f"methods that explain a class: {', '.join(asking)}; but no class is asked for: name some (--target top1), "
            "or leave these methods out"
        )


def _explain_one(
    request: PictureRequest, batch: Batch, labels: Labels, caf: L2CAF, methods: Mapping[str, Method]
) -> _Found:
    picture, region = shown(batch.pictures[0], batch.regions[0])
    panels: list[Panel] = []
    found = _Found(Entry(request.file.name, np.asarray(picture), panels))
    for target in (None, request.target) if request.target is not None else (None,):
        start = time.perf_counter()
        attention = caf(batch.inputs, target)
        places = attention.places(0)
        framing = Framing(picture.size, region, (time.perf_counter() - start) / len(places))
        panels += [panel(attention, place, _label(attention, place, labels), framing) for place in places]
        found.ours.append(attention)
    for other, seconds in _maps_of(methods, request.target, batch, caf):
        framing = Framing(picture.size, region, seconds / len(other.maps))
        names = (
            [""] * len(other.maps)
            if other.target is None
            else [f": {class_name(int(c), labels)}" for c in other.target]
        )
        panels += [map_panel(heat, other.name + name, framing) for heat, name in zip(other.maps, names, strict=True)]
        found.others.append(other)
    return found


def _maps_of(
    methods: Mapping[str, Method], target: Target, batch: Batch, caf: L2CAF
) -> Iterator[tuple[_MethodMap, float]]:
    """The maps of other methods from one more pass of the network, each with the seconds that it took."""
    if not methods:
        return
    with caf.cut(batch.inputs) as cut:
        scores = cut.tail.reference[:: cut.tail.n_calls]
        asked = resolve_targets(target, scores)
        classes = scores.topk(1).indices if asked is None else asked
        for name, method in methods.items():
            start = time.perf_counter()
            try:
                maps = method(cut, classes if method.needs_class else None)
            except L2CAFError as error:
                raise type(error)(f"method {name!r}: {error}") from error
            seconds = time.perf_counter() - start
            found = maps[0].reshape(-1, *maps.shape[-2:]).float().cpu().numpy()  # runs of the layer before targets
            shown = np.resize(classes[0].cpu().numpy(), len(found)) if method.needs_class else None
            yield _MethodMap(name, found, shown), seconds


def _write_animations(folder: Path, target: Target, batch: Batch, labels: Labels, caf: L2CAF) -> None:
    slow = replace(caf, solver=Descent(keep_trace=True))
    x0, y0, x1, y1 = map(round, batch.regions[0])
    seen = np.asarray(batch.pictures[0].crop((x0, y0, x1, y1)))
    for wanted, kind in ((None, "oblivious"), (target, "specific")):
        if wanted is None and kind == "specific":
            continue
        attention = slow(batch.inputs, wanted)
        names = [_label(attention, place, labels) for place in attention.places(0)]
        images = frames(attention, 0, seen, names)
        write_gif(folder / f"{kind}.gif", images)
        write_mp4(folder / f"{kind}.mp4", images)


def _label(attention: Attention, place: tuple[int, ...], labels: Labels) -> str:
    number, target = attention.run_of(place), attention.target_of(place)
    run = "" if number is None else f", run {number} of {attention.question.layer}"
    return ("all that it says (class-oblivious)" if target is None else class_name(target, labels)) + run


def class_name(number: int, labels: Labels) -> str:
    """What results call a class: its label and its number, or the number alone where nobody named it."""
    if labels is None or number >= len(labels) or labels[number] == str(number):
        return f"class {number}"
    return f"{labels[number]} ({number})"
