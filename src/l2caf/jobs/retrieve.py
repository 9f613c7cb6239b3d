"""A picture and a folder of others in, the nearest of them out, with what makes them similar."""

import filecmp
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf import storage
from l2caf.errors import DataError
from l2caf.jobs.gallery import EmbeddedFiles, embed, fault_of, outputs_of, pictures_of
from l2caf.jobs.likeness import HEADINGS, LOSSES, Match, SeenPicture, explained, is_embedder
from l2caf.models import LoadedModel
from l2caf.progress import Report, silent
from l2caf.retrieval import Gallery, Neighbours, is_collapsed
from l2caf.retrieval.search import Similarity, comparable
from l2caf.viz.grid import write_grid
from l2caf.viz.report import Summary, write_report

FORMAT: Final = "l2caf.retrieve/1"
SPARE: Final = 32  # neighbours beyond those wanted, in case some are copies


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a gallery is searched.

    Attributes:
        k: the number of matches.
        metric: `"cosine"` or `"euclidean"`.
        layer: the layer to look at; None for the default layer.
        cache: the folder of embeddings; None for `L2CAF_CACHE`, or `~/.cache/l2caf`.
        batch_size: the number of pictures per pass.
        workers: the number of processes that read pictures; 0 reads them in this process.
        overwrite: whether an earlier result is replaced.
    """

    k: int = 5
    metric: Similarity = "cosine"
    layer: str | None = None
    cache: Path | None = None
    batch_size: int = 16
    workers: int = 0
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a search found.

    Attributes:
        folder: the folder of page and picture.
        matches: the matches, the nearest first.
        skipped: files of the gallery that could not be read or embedded, with the reason.
        copies: files left out since they are, byte for byte, the query or a nearer match.
        n_pictures: how many pictures were searched.
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


def retrieve(
    query: Path,
    gallery: Path,
    loaded: LoadedModel,
    output: Path,
    options: SearchOptions | None = None,
    *,
    report: Report = silent,
) -> Retrieved:
    """Find the pictures nearest to one, and write what makes them similar.

    Args:
        query: a picture; it may be one of the gallery, and is then not a match.
        gallery: a folder of pictures, searched with its subfolders.
        loaded: the network and how to feed it. Of a network that is no `Embedder` the output is the embedding.
        output: a folder that does not exist yet.
        options: how the gallery is searched.
        report: called with the number of pictures embedded and in all.

    Returns:
        What was found; the folder holds index.html, matches.png and manifest.json.

    Raises:
        DataError: if the query cannot be read or compared, the gallery holds no other picture that can, its
            embeddings are all the same, or k is below 1.
        StorageError: if folder or cache cannot be written.
        OutputError: if the network's output is no tensor.
    """
    options = options or SearchOptions()
    if options.k < 1:
        raise DataError(f"k={options.k} is out of range; expected a number of matches from 1")
    asked = SeenPicture.read(query, loaded.card)
    files = pictures_of(gallery, FORMAT)
    with storage.new_folder(output, overwrite=options.overwrite) as folder:
        vector = outputs_of(loaded, asked.inputs[None].to(loaded.device)).cpu()
        if not comparable(vector, options.metric):
            raise DataError(f"{query}: {fault_of(vector[0])}")
        batches = options.batch_size, options.workers
        found = embed(files, loaded, options.cache, batches, report).compared(options.metric)
        matches, copies = _nearest(query, vector, found, options)
        start = time.perf_counter()
        entries, rows = explained(asked, matches, loaded, options.layer, options.metric)
        result = Retrieved(output, matches, found.skipped, copies, len(found.files), found.n_new, note_on(loaded))
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


def note_on(loaded: LoadedModel) -> str:
    """What is to be known of a network that is to embed pictures; empty for an embedding network."""
    if loaded.has_random_head:
        return (
            f"the linear layer of {loaded.name} is random, so neighbours are only roughly those of its features; "
            "`l2caf train retrieval` makes weights"
        )
    if is_embedder(loaded):
        return ""
    return (
        f"{loaded.name} is no embedding network: its output is taken for the embedding (of a classifier, the scores "
        f"of its classes); retrieval/{loaded.name} is one on its features, best trained by `l2caf train retrieval`"
    )


def _nearest(
    query: Path, vector: Float[Tensor, "1 d"], found: EmbeddedFiles, options: SearchOptions
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


def _refuse_collapse(found: EmbeddedFiles, metric: Similarity) -> None:
    vectors, first = found.vectors, found.files[0]
    seen = torch.nn.functional.normalize(vectors, dim=1) if metric == "cosine" else vectors  # the cosine sees no length
    if len(vectors) > 1 and is_collapsed(seen) and not all(_is_copy(file, first) for file in found.files[1:]):
        raise DataError(
            f"all {len(vectors)} embeddings are the same{' but for their length' if metric == 'cosine' else ''} though "
            "the pictures differ: the network has collapsed"
        )


def _is_copy(file: Path, other: Path) -> bool:
    return filecmp.cmp(file, other, shallow=False)


def _summary(result: Retrieved, loaded: LoadedModel, gallery: Path) -> Summary:
    settings = {
        "network": loaded.name,
        "gallery": f"{gallery}, {result.n_pictures} pictures",
        "losses": LOSSES,
        "note": result.note,
        "copies left out": ", ".join(str(file) for file in result.copies),
    }
    return Summary(settings, result.skipped)
