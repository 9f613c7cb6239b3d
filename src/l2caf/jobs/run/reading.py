"""Results of a run, read back."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf import pictures, storage
from l2caf.errors import DataError, RunError, StorageError
from l2caf.extras import require
from l2caf.jobs.run.archives import open_source
from l2caf.jobs.run.inputs import PictureSource
from l2caf.jobs.run.shards import FORMAT, all_failures, finished, readable, shard_file
from l2caf.storage import JsonObject

KEYS: Final = {"settings", "inputs", "given", "grid", "labels"}  # of a manifest, read here
SHOWN_PX: Final = 1024  # pictures are drawn no larger
RowValues = dict[str, Any]  # the values of a row by column name


def results(folder: str | Path) -> "Results":
    """Read what a run wrote, whether it is finished or not.

    Args:
        folder: the folder of the run.

    Returns:
        The rows of the run, as a data set or a frame.

    Raises:
        StorageError: if it holds no run, or its manifest is damaged.
    """
    manifest = storage.read_manifest(Path(folder))
    if manifest.get("format") != FORMAT:
        raise StorageError(f"{folder} holds {manifest.get('format')!r}; expected {FORMAT!r}, which `l2caf run` writes")
    if missing := KEYS - set(manifest):
        raise StorageError(f"{Path(folder) / storage.MANIFEST} is damaged: it lacks {', '.join(sorted(missing))}")
    return Results(Path(folder), manifest)


@dataclass(frozen=True)
class Results:
    """Rows of a run: one per picture and target, in the order of the input.

    Attributes:
        folder: the folder of the run.
        manifest: what the rows follow from: `settings`, `inputs`, `grid`, `labels`.
    """

    folder: Path
    manifest: JsonObject

    @cached_property
    def files(self) -> list[Path]:
        """The shards that are written, in order."""
        return [shard_file(self.folder, shard) for shard in sorted(finished(self.folder))]

    @cached_property
    def dataset(self) -> ds.Dataset:
        """The rows as a pyarrow data set, which reads no more than is asked of it."""
        if not self.files:
            raise StorageError(f"{self.folder} holds no finished shard yet")
        return ds.dataset([str(file) for file in self.files], format="parquet")

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the filters."""
        return tuple(self.manifest["grid"])

    @property
    def is_complete(self) -> bool:
        """Whether every picture of the input has been done."""
        n, size = self.manifest["inputs"]["pictures"], self.manifest["settings"]["shard_size"]
        return len(self.files) == -(-n // size)

    def __len__(self) -> int:
        return sum(_n_rows(file) for file in self.files)

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """A pandas frame.

        Args:
            columns: the names of the columns wanted; None for all.

        Returns:
            The frame; filters are float16 arrays (p,), row-major on `grid`.

        Raises:
            ExtraMissingError: if pandas is not installed.
        """
        require("pandas", extra="scale")
        return self.dataset.to_table(columns=None if columns is None else list(columns)).to_pandas()

    def errors(self) -> list[tuple[str, str]]:
        """Pictures without rows, and why."""
        return [(one.path, one.reason) for one in all_failures(self.folder)]

    def row(self, number: int) -> RowValues:
        """Read one row.

        Args:
            number: the number of the row, from 0, in the order of the input.

        Returns:
            The values by column name.

        Raises:
            DataError: if there is no such row.
        """
        return self.rows([number])[0]

    def rows(self, numbers: Sequence[int]) -> list[RowValues]:
        """Read some rows; no shard is opened twice.

        Args:
            numbers: the numbers of the rows, ascending, from 0, in the order of the input.

        Returns:
            For each row its values by column name.

        Raises:
            DataError: if there is no such row.
            StorageError: if a shard is damaged.
        """
        found: list[RowValues] = []
        first = 0
        for file in self.files:
            n = _n_rows(file)
            inside = [number - first for number in numbers if first <= number < first + n]
            found += _taken(file, inside) if inside else []
            first += n
        if len(found) != len(numbers):
            missing = next(number for number in numbers if not 0 <= number < first)
            there = f"rows 0 to {first - 1}" if first else "no rows"
            raise DataError(f"row {missing} does not exist; {self.folder} holds {there}")
        return found

    @cached_property
    def source(self) -> PictureSource:
        """The pictures, where they still are; raises `DataError` or `RunError` where they are not."""
        source = open_source(self.manifest["given"])
        if source.digest() != self.manifest["inputs"]["digest"]:
            raise RunError(f"{self.manifest['given']} lists other pictures than when the run was made")
        return source

    def heatmap(self, row: RowValues, size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
        """Lay the map of a row over the whole picture.

        Args:
            row: a row, from `row` or from the data set.
            size: the width and height to draw at, in pixels.

        Returns:
            The map in [0, 1]; it is 0 where the network was not shown the picture.

        Raises:
            DataError: if the run kept no filters, or they are not flat.
        """
        if row.get("filter") is None or len(self.grid) != 2:
            raise DataError("there is no flat filter to draw; run with --what filter on a layer with a grid of rank 2")
        scale = size[0] / row["width"], size[1] / row["height"]
        x0, y0, x1, y1 = (value * scale[i % 2] for i, value in enumerate(row["region"]))
        filter_ = torch.from_numpy(np.asarray(row["filter"], np.float32).reshape(self.grid))
        return pictures.in_frame(filter_, size, (x0, y0, x1, y1))

    def kept_overlay(self, row: RowValues) -> UInt8[np.ndarray, "h w 3"]:
        """The overlay that the run kept of what the network was shown, RGB."""
        return np.asarray(Image.open(io.BytesIO(row["overlay"])).convert("RGB"))

    def overlay(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the picture of a row under its map.

        Args:
            number: the number of the row.

        Returns:
            The drawing, RGB. If the picture is gone, it is the overlay that the run kept.

        Raises:
            DataError: if there is neither picture nor overlay.
        """
        row = self.row(number)
        if row.get("overlay") is not None and row.get("filter") is None:
            return self.kept_overlay(row)
        try:
            picture = self.source.picture(row["index"])
        except (DataError, RunError, OSError) as error:
            if row.get("overlay") is not None:
                return self.kept_overlay(row)
            raise DataError(f"the picture of row {number} is not where it was: {error}") from error
        picture.thumbnail((SHOWN_PX, SHOWN_PX))
        return pictures.overlay(np.asarray(picture), self.heatmap(row, picture.size))


def _n_rows(file: Path) -> int:
    with readable(file):
        return int(pq.read_metadata(file).num_rows)


def _taken(file: Path, numbers: Sequence[int]) -> list[RowValues]:
    with readable(file):
        return [_as_row(row) for row in pq.read_table(file).take(numbers).to_pylist()]


def _as_row(row: RowValues) -> RowValues:
    return row | ({"filter": np.array(row["filter"], np.float16)} if "filter" in row else {})
