"""A folder of pictures as embeddings: each is embedded once, and only what can be compared is searched."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l2caf import storage
from l2caf.attention.output import output_reader
from l2caf.data.feeding import PictureFiles, fed, in_turn
from l2caf.data.pictures import find_pictures
from l2caf.errors import DataError, StorageError
from l2caf.models import LoadedModel
from l2caf.progress import Report
from l2caf.retrieval.cache import FORMAT as CACHE_FORMAT
from l2caf.retrieval.cache import EmbeddingCache, mark_of
from l2caf.retrieval.search import Similarity, comparable


@dataclass(frozen=True, slots=True)
class EmbeddedFiles:
    """The files of a gallery that can be compared, and those that cannot.

    Attributes:
        files: the files whose embeddings can be compared.
        vectors: their embeddings, float32.
        skipped: the other files, with the reason.
        n_new: how many embeddings were not in the cache.
    """

    files: list[Path]
    vectors: Float[Tensor, "g d"]
    skipped: list[tuple[str, str]]
    n_new: int

    def compared(self, metric: Similarity) -> "EmbeddedFiles":
        """The files whose embeddings a metric can compare; raises `DataError` if there are none."""
        kept = comparable(self.vectors, metric)
        faults = [(str(self.files[row]), fault_of(self.vectors[row])) for row in (~kept).nonzero()[:, 0].tolist()]
        if not kept.any():
            raise DataError(f"no picture of the gallery can be compared; {faults[0][0]}: {faults[0][1]}")
        files = [self.files[row] for row in kept.nonzero()[:, 0].tolist()]
        return EmbeddedFiles(files, self.vectors[kept], self.skipped + faults, self.n_new)


def fault_of(embedding: Float[Tensor, " d"]) -> str:
    """Say in words why an embedding cannot be compared."""
    what = "too long or too short to be compared" if bool(embedding.isfinite().all()) else "NaN or infinite"
    return f"its embedding is {what if bool(embedding.any()) else 'zero, which has no cosine'}"


def pictures_of(gallery: Path, earlier: str) -> list[Path]:
    """Find a gallery's pictures, without those that an earlier search left there.

    Args:
        gallery: a folder, searched with its subfolders.
        earlier: the `format` in the manifest of a search's result.

    Returns:
        The picture files, sorted.

    Raises:
        DataError: if there is none.
    """
    found = find_pictures([gallery])
    results = {folder for folder in {file.parent for file in found} if _format_of(folder) == earlier}
    kept = [file for file in found if file.parent not in results]
    if not kept:
        raise DataError(f"folder {gallery} holds no pictures but those of earlier searches")
    return kept


def _format_of(folder: Path) -> str | None:
    with suppress(StorageError):
        return storage.read_manifest(folder).get("format")
    return None


def embed(
    files: Sequence[Path], loaded: LoadedModel, cache: Path | None, batches: tuple[int, int], report: Report
) -> EmbeddedFiles:
    """Embed files, each from the cache where it is there.

    Args:
        files: picture files.
        loaded: the network and how to feed it.
        cache: the folder of caches; None for `L2CAF_CACHE`, or `~/.cache/l2caf`.
        batches: the number of pictures per pass, and of processes that read them.
        report: called with the number of pictures done and in all.

    Returns:
        The embeddings of the files that can be read.

    Raises:
        DataError: if no file can be read.
        StorageError: if the cache cannot be written.
    """
    marks, skipped, n_new = [mark_of(file) for file in files], list[tuple[str, str]](), 0
    with EmbeddingCache.opened(_cache_folder(cache), _key(loaded)) as kept:
        vectors = kept.known(marks)
        done = len(vectors)
        report(done, len(files))
        missing = [place for place in range(len(files)) if place not in vectors]
        size, workers = batches
        feeding = fed(
            PictureFiles(files), loaded.card.feeding, in_turn(missing, size), workers=workers, device=loaded.device
        )
        with feeding as read:
            for batch in read:
                skipped += [(one.path, one.reason) for one in batch.failures]
                if batch.numbers:
                    new = dict(zip(batch.numbers, outputs_of(loaded, batch.inputs).cpu().numpy(), strict=True))
                    kept.add({marks[place]: vector for place, vector in new.items()})
                    vectors |= new
                    n_new += len(new)
                done += len(batch.asked)
                report(done, len(files))
    if not vectors:
        raise DataError(f"none of {len(files)} pictures could be read; the first: {skipped[0][1]}")
    places = sorted(vectors)
    embeddings = torch.from_numpy(np.stack([vectors[place] for place in places]))
    return EmbeddedFiles([files[place] for place in places], embeddings, skipped, n_new)


def outputs_of(loaded: LoadedModel, inputs: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    """What a network says of a batch, float32, on its device; raises `OutputError` if that is no tensor."""
    with torch.no_grad():
        return output_reader(None)(loaded.model(inputs)).detach().float()


def _cache_folder(given: Path | None) -> Path:
    usual = Path(os.environ.get("L2CAF_CACHE") or Path.home() / ".cache" / "l2caf")
    return (given or usual) / "embeddings"


def _key(loaded: LoadedModel) -> str:
    """A name for everything that an embedding depends on but the picture."""
    said = json.dumps(
        [CACHE_FORMAT, loaded.name, dict(loaded.card.arguments), loaded.card.feeding], sort_keys=True, default=str
    )
    return storage.digest([said.encode(), loaded.fingerprint.encode()])
