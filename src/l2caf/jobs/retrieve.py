"""A picture and a folder of others in, the nearest of them out, with what makes them similar."""

import filecmp
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from l2caf import pictures, storage
from l2caf.attention import L2CAF
from l2caf.attention.output import output_reader
from l2caf.data.pictures import Region, find_pictures, prepare, read_picture
from l2caf.errors import DataError, StorageError
from l2caf.models import LoadedModel, ModelCard
from l2caf.models.retrieval import Embedder
from l2caf.retrieval import Gallery, Neighbours, is_collapsed, pair
from l2caf.retrieval.cache import FORMAT as CACHE_FORMAT
from l2caf.retrieval.cache import EmbeddingCache, mark_of
from l2caf.retrieval.search import Similarity, comparable
from l2caf.viz.grid import titled, write_grid
from l2caf.viz.panels import Framing, panel, shown
from l2caf.viz.report import Entry, Panel, Summary, write_report

FORMAT: Final = "l2caf.retrieve/1"
SPARE: Final = 32  # neighbours beyond those wanted, in case some are copies
EVERYTHING: Final = "all that it says"
HEADINGS: Final = (
    "query", EVERYTHING, "what makes it like the match", "what makes it like the query", EVERYTHING, "match"
)  # fmt: skip
LOSSES: Final = (
    "of what makes alike: 1 - cosine, under filters of unit norm, so that a network's bias weighs more than in the "
    "cosine of whole pictures; of all that it says: squared distance to the whole embedding"
)


@dataclass(frozen=True, slots=True)
class Options:
    """Of a search.

    Attributes:
        k: how many matches.
        metric: `"cosine"` or `"euclidean"`.
        layer: where to look; None for the default layer.
        cache: folder of embeddings; None for `L2CAF_CACHE`, or `~/.cache/l2caf`.
        batch_size: pictures per pass.
        workers: processes that read pictures.
        overwrite: replace an earlier result.
    """

    k: int = 5
    metric: Similarity = "cosine"
    layer: str | None = None
    cache: Path | None = None
    batch_size: int = 16
    workers: int = 0
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A picture of the gallery and its score: a cosine in [-1, 1], or a Euclidean distance."""

    file: Path
    score: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a search found.

    Attributes:
        folder: where page and picture are.
        matches: the nearest first.
        skipped: files of the gallery that could not be read or embedded, with the reason.
        copies: files left out since they are, byte for byte, the query or a nearer match.
        n_pictures: how many were searched.
        n_embedded: how many of them were not in the cache.
        note: what is to be known of the network, if anything.
    """

    folder: Path
    matches: Sequence[Match]
    skipped: Sequence[tuple[str, str]]
    copies: Sequence[Path]
    n_pictures: int
    n_embedded: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Embedded:
    """Files that have an embedding, and those that have none."""

    files: list[Path]
    vectors: Float[Tensor, "g d"]
    skipped: list[tuple[str, str]]
    n_new: int


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture as the network and as a reader sees it."""

    file: Path
    inputs: Float[Tensor, "3 h w"]
    rgb: UInt8[np.ndarray, "height width 3"]
    region: Region

    @classmethod
    def read(cls, file: Path, card: ModelCard) -> "_Picture":
        picture = read_picture(file)
        inputs, region = prepare(picture, **card.feeding)
        small, region = shown(picture, region)
        return cls(file, inputs, np.asarray(small), region)

    def framing(self, time_s: float, *, is_guest: bool = False) -> Framing:
        height, width = self.rgb.shape[:2]
        return Framing((width, height), self.region, time_s, self.rgb if is_guest else None)


def retrieve(
    query: Path,
    gallery: Path,
    loaded: LoadedModel,
    output: Path,
    options: Options | None = None,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Retrieved:
    """Find the pictures nearest to one, and write what makes them similar.

    Args:
        query: a picture; it may be one of the gallery, and is then not a match.
        gallery: a folder of pictures, searched with its subfolders.
        loaded: the network and how to feed it. Of a network that is no `Embedder` the output is the embedding.
        output: a folder that does not exist yet.
        options: of the search.
        report: called with pictures embedded and in all.

    Returns:
        What was found; the folder holds index.html, matches.png and manifest.json.

    Raises:
        DataError: if the query cannot be read or compared, the gallery holds no other picture that can, its
            embeddings are all the same, or k is below 1.
        StorageError: if folder or cache cannot be written.
        OutputError: if the network's output is no tensor.
    """
    options = options or Options()
    if options.k < 1:
        raise DataError(f"k={options.k} is out of range; expected a number of matches from 1")
    asked = _Picture.read(query, loaded.card)
    files = _pictures_of(gallery)
    with storage.new_folder(output, overwrite=options.overwrite) as folder:
        vector = _outputs(loaded, asked.inputs[None].to(loaded.device)).cpu()
        if not comparable(vector, options.metric):
            raise DataError(f"{query}: {_fault(vector[0])}")
        found = _embed(files, loaded, options, report)
        matches, copies = _nearest(query, vector, found, options)
        start = time.perf_counter()
        others = [_Picture.read(match.file, loaded.card) for match in matches]
        entries, rows = _explained(asked, matches, others, loaded, options)
        result = Retrieved(
            output, matches, found.skipped, copies, len(found.files), found.n_new, note_on(loaded)
        )  # fmt: skip
        write_grid(folder / "matches.png", HEADINGS, rows)
        write_report(folder / "index.html", f"Like {query.name}", _summary(result, loaded, gallery), entries)
        storage.write_manifest(
            folder,
            {
                "format": FORMAT, "network": loaded.name, "query": str(query), "gallery": str(gallery),
                "metric": options.metric, "matches": [[str(match.file), match.score] for match in matches],
                "skipped": found.skipped, "seconds": round(time.perf_counter() - start, 3),
            },
        )  # fmt: skip
    return result


def _pictures_of(gallery: Path) -> list[Path]:
    """A gallery's pictures, without those that an earlier search left there."""
    found = find_pictures([gallery])
    results = {folder for folder in {file.parent for file in found} if _is_result(folder)}
    kept = [file for file in found if file.parent not in results]
    if not kept:
        raise DataError(f"folder {gallery} holds no pictures but those of earlier searches")
    return kept


def _is_result(folder: Path) -> bool:
    with suppress(StorageError):
        return storage.read_manifest(folder).get("format") == FORMAT
    return False


def note_on(loaded: LoadedModel) -> str:
    """What is to be known of a network that is to embed pictures; empty for an embedding network."""
    if loaded.has_random_head:
        return (
            f"the linear layer of {loaded.name} is random, so neighbours are only roughly those of its features; "
            "`l2caf train retrieval` makes weights"
        )
    if isinstance(loaded.model, Embedder):
        return ""
    return (
        f"{loaded.name} is no embedding network: its output is taken for the embedding (of a classifier, the scores "
        f"of its classes); retrieval/{loaded.name} is one on its features, best trained by `l2caf train retrieval`"
    )


class _Files(Dataset[tuple[int, Any]]):
    """Pictures as the network takes them; what cannot be read comes as its reason."""

    def __init__(self, files: Sequence[Path], places: Sequence[int], card: ModelCard) -> None:
        self.files, self.places, self.card = files, places, card

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        place = self.places[index]
        try:
            return place, prepare(read_picture(self.files[place]), **self.card.feeding)[0]
        except DataError as error:
            return place, str(error)


def _embed(
    files: Sequence[Path], loaded: LoadedModel, options: Options, report: Callable[[int, int], None]
) -> _Embedded:
    """Every file's embedding, from the cache where it has it."""
    marks, skipped, n_new = [mark_of(file) for file in files], [], 0
    with EmbeddingCache.opened(_cache_folder(options), _key(loaded)) as cache:
        vectors = cache.known(marks)
        places = [place for place in range(len(files)) if place not in vectors]
        done = len(vectors)
        report(done, len(files))
        for batch in _batches(_Files(files, places, loaded.card), options):
            skipped += [(str(files[place]), content) for place, content in batch if isinstance(content, str)]
            new = _embedded(loaded, [(place, content) for place, content in batch if not isinstance(content, str)])
            cache.add({marks[place]: vector for place, vector in new.items()})
            vectors |= new
            n_new += len(new)
            done += len(batch)
            report(done, len(files))
    if not vectors:
        raise DataError(f"none of {len(files)} pictures could be read; the first: {skipped[0][1]}")
    places = sorted(vectors)
    embeddings = torch.from_numpy(np.stack([vectors[place] for place in places]))
    return _compared([files[place] for place in places], embeddings, skipped, n_new, options.metric)


def _compared(
    files: list[Path], embeddings: Float[Tensor, "g d"], skipped: list[tuple[str, str]], n_new: int, metric: Similarity
) -> _Embedded:
    """The files whose embeddings can be compared; the others skipped."""
    kept = comparable(embeddings, metric)
    faults = [(str(files[row]), _fault(embeddings[row])) for row in (~kept).nonzero()[:, 0].tolist()]
    if not kept.any():
        raise DataError(f"no picture of the gallery can be compared; {faults[0][0]}: {faults[0][1]}")
    rows = kept.nonzero()[:, 0].tolist()
    return _Embedded([files[row] for row in rows], embeddings[kept], skipped + faults, n_new)


def _fault(embedding: Float[Tensor, " d"]) -> str:
    what = "too long or too short to be compared" if bool(embedding.isfinite().all()) else "NaN or infinite"
    return f"its embedding is {what if bool(embedding.any()) else 'zero, which has no cosine'}"


def _batches(items: _Files, options: Options) -> Iterator[list[tuple[int, Any]]]:
    yield from DataLoader(items, options.batch_size, num_workers=options.workers, collate_fn=list)


def _embedded(loaded: LoadedModel, batch: list[tuple[int, Tensor]]) -> dict[int, np.ndarray]:
    if not batch:
        return {}
    outputs = _outputs(loaded, torch.stack([inputs for _, inputs in batch]).to(loaded.device)).cpu().numpy()
    return {place: vector for (place, _), vector in zip(batch, outputs, strict=True)}


def _outputs(loaded: LoadedModel, inputs: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    with torch.no_grad():
        return output_reader(None)(loaded.model(inputs)).detach().float()


def _cache_folder(options: Options) -> Path:
    usual = Path(os.environ.get("L2CAF_CACHE") or Path.home() / ".cache" / "l2caf")
    return (options.cache or usual) / "embeddings"


def _key(loaded: LoadedModel) -> str:
    """Everything that an embedding depends on but the picture."""
    said = json.dumps(
        [CACHE_FORMAT, loaded.name, dict(loaded.card.arguments), loaded.card.feeding], sort_keys=True, default=str
    )
    return storage.digest([said.encode(), loaded.fingerprint.encode()])


def _nearest(
    query: Path, vector: Float[Tensor, "1 d"], found: _Embedded, options: Options
) -> tuple[list[Match], list[Path]]:
    """The nearest files that are not the query, without copies; and the copies met on the way."""
    _refuse_collapse(found, options.metric)
    itself = [place for place, file in enumerate(found.files) if file.resolve() == query.resolve()]
    limit = len(found.files) - len(itself)
    if limit < 1:
        raise DataError("the gallery holds no picture but the query")
    own = torch.tensor(itself) if itself else None
    gallery, count = Gallery(found.vectors, options.metric), min(options.k + SPARE, limit)
    while True:
        near = gallery.nearest(vector, count, own=own)
        matches, copies = _without_copies(query, found.files, near, options.k)
        if len(matches) == options.k or count == limit:
            break
        count = min(2 * count, limit)  # more copies than there was room for
    if not matches:
        raise DataError(f"the gallery holds nothing but {len(copies)} copies of the query")
    return matches, copies


def _without_copies(query: Path, files: Sequence[Path], near: Neighbours, k: int) -> tuple[list[Match], list[Path]]:
    """The k first neighbours that differ, byte for byte, from the query and each other; and the copies."""
    matches: list[Match] = []
    copies: list[Path] = []
    for place, score in zip(near.indices[0].tolist(), near.scores[0].tolist(), strict=True):
        if any(_is_copy(files[place], other) for other in (query, *(match.file for match in matches))):
            copies.append(files[place])
        elif len(matches) < k:
            matches.append(Match(files[place], score))
    return matches, copies


def _refuse_collapse(found: _Embedded, metric: Similarity) -> None:
    vectors, first = found.vectors, found.files[0]
    seen = torch.nn.functional.normalize(vectors, dim=1) if metric == "cosine" else vectors  # the cosine sees no length
    if len(vectors) > 1 and is_collapsed(seen) and not all(_is_copy(file, first) for file in found.files[1:]):
        raise DataError(
            f"all {len(vectors)} embeddings are the same{' but for their length' if metric == 'cosine' else ''} though "
            "the pictures differ: the network has collapsed"
        )


def _is_copy(file: Path, other: Path) -> bool:
    return filecmp.cmp(file, other, shallow=False)


def _explained(
    asked: _Picture, matches: Sequence[Match], others: Sequence[_Picture], loaded: LoadedModel, options: Options
) -> tuple[list[Entry], list[list[UInt8[np.ndarray, "h w 3"]]]]:
    """Entries of the page and rows of the picture."""
    # The raw embedding, whose tail is linear: a normalisation behind it changes no cosine.
    caf = L2CAF(loaded.model, options.layer, until="projection" if isinstance(loaded.model, Embedder) else None)
    inputs = torch.stack([picture.inputs for picture in (asked, *others)]).to(loaded.device)
    caf(inputs[:1])  # finding the layer is not part of the time of the first map
    start = time.perf_counter()
    oblivious, both = caf(inputs), pair(caf, inputs[:1], inputs[1:])
    seconds = (time.perf_counter() - start) / (1 + 3 * len(others))
    every = f"{EVERYTHING} (class-oblivious)"
    own = panel(oblivious, (0, 0), every, asked.framing(seconds))
    entries = [Entry(asked.file.name, asked.rgb, [own], "the query")]
    rows = []
    for place, (match, other) in enumerate(zip(matches, others, strict=True)):
        panels = [
            panel(both.match, (place, 0), "what makes it like the query", other.framing(seconds)),
            panel(both.query, (0, place), "what makes the query like it", asked.framing(seconds, is_guest=True)),
            panel(oblivious, (place + 1, 0), every, other.framing(seconds)),
        ]
        distance = f"distance {match.score:.4f}, " if options.metric == "euclidean" else ""
        note = f"match {place + 1}, {distance}cosine {float(both.similarity[0, place]):.4f}"
        entries.append(Entry(match.file.name, other.rgb, panels, note))
        rows.append(_row(asked, other, (own, *panels), match))
    return entries, rows


def _row(asked: _Picture, other: _Picture, panels: Sequence[Panel], match: Match) -> list[UInt8[np.ndarray, "h w 3"]]:
    own, on_match, on_query, every = panels
    return [
        asked.rgb,
        pictures.overlay(asked.rgb, own.heatmap),
        pictures.overlay(asked.rgb, on_query.heatmap),
        pictures.overlay(other.rgb, on_match.heatmap),
        pictures.overlay(other.rgb, every.heatmap),
        titled(other.rgb, f"{match.score:.3f}"),
    ]


def _summary(result: Retrieved, loaded: LoadedModel, gallery: Path) -> Summary:
    settings = {
        "network": loaded.name,
        "gallery": f"{gallery}, {result.n_pictures} pictures",
        "losses": LOSSES,
        "note": result.note,
        "copies left out": ", ".join(str(file) for file in result.copies),
    }
    return Summary(settings, result.skipped)
