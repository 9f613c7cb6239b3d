"""Shards: files that each hold the rows of a fixed range of the input, and are either whole or not there.

A shard is written under a temporary name, brought to disk, and renamed. Its footer says which pictures of its range
have no rows, and why, so that one file holds all that is known of the range.
"""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from l2caf import storage
from l2caf.data.feeding import Failure, in_turn
from l2caf.errors import StorageError

FORMAT: Final = "l2caf.run/1"  # of a run's manifest
FOLDER: Final = "shards"
SHARDS: Final = f"{FOLDER}/*.parquet"
NAME: Final = re.compile(r"\d{8,}\.parquet")
ERRORS: Final = "errors.parquet"
REPEATING: Final = ("path", "certificate", "target", "prediction")  # a dictionary of floats only costs space
KEY: Final = b"l2caf.shard"
ERROR_COLUMNS: Final = pa.schema({"index": pa.int64(), "path": pa.string(), "reason": pa.string()})


def shard_file(folder: Path, shard: int) -> Path:
    """Where a shard is."""
    return folder / FOLDER / f"{shard:08d}.parquet"


def finished(folder: Path) -> set[int]:
    """Numbers of the shards that are written."""
    return {int(file.stem) for file in folder.glob(SHARDS) if NAME.fullmatch(file.name)}


def sweep(folder: Path) -> None:
    """Remove what killed runs left half written."""
    for place in (folder, folder / FOLDER):
        for file in place.glob(f".*{storage.PARTIAL}"):
            file.unlink(missing_ok=True)


def n_shards(n_pictures: int, shard_size: int) -> int:
    """How many shards there are."""
    return -(-n_pictures // shard_size)


def batches_of(shard: int, n_pictures: int, shard_size: int, batch_size: int) -> list[Sequence[int]]:
    """Picture numbers of each batch of a shard: the same ones in every run, so that rounding is the same too."""
    return in_turn(range(shard * shard_size, min(n_pictures, (shard + 1) * shard_size)), batch_size)


def write_shard(
    folder: Path, shard: int, tables: Sequence[pa.Table], columns: pa.Schema, failures: Sequence[Failure]
) -> None:
    """Write a shard, whole or not at all.

    Args:
        folder: the folder of the run.
        shard: the number of the shard.
        tables: the rows of the shard, in order.
        columns: the columns of the run.
        failures: the pictures of the shard's range that have no rows.

    Raises:
        StorageError: if it cannot be written.
    """
    content = json.dumps({"failures": [[one.number, one.path, one.reason] for one in failures]}).encode()
    table = pa.concat_tables([columns.empty_table(), *tables]).replace_schema_metadata({KEY: content})
    with storage.whole_file(shard_file(folder, shard), tag=f".{secrets.token_hex(4)}") as stream:
        pq.write_table(
            table, stream, compression="zstd", row_group_size=max(1, len(table)), use_dictionary=list(REPEATING)
        )


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Say of a shard that cannot be read what to do about it.

    Args:
        file: the file of the shard that the body reads.

    Yields:
        Nothing.

    Raises:
        StorageError: if the body met a damaged file.
    """
    try:
        yield
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(f"shard {file} is damaged ({error}); remove it and run the same command again") from error


def failures_of(file: Path) -> list[Failure]:
    """Read which pictures of a shard's range have no rows, and why.

    Args:
        file: the file of the shard.

    Returns:
        The failures.

    Raises:
        StorageError: if the shard is damaged.
    """
    with readable(file):
        metadata: dict[bytes, bytes] = pq.read_schema(file).metadata or {}
        return [Failure(*one) for one in json.loads(metadata[KEY])["failures"]]


def all_failures(folder: Path) -> Iterator[Failure]:
    """Every picture without rows, in the order of the input."""
    for shard in sorted(finished(folder)):
        yield from failures_of(shard_file(folder, shard))


def write_errors(folder: Path) -> int:
    """Gather what all shards say of pictures without rows into `errors.parquet`.

    Args:
        folder: the folder of a finished run.

    Returns:
        The number of pictures without rows.
    """
    n = 0
    with storage.whole_file(folder / ERRORS) as stream, pq.ParquetWriter(stream, ERROR_COLUMNS) as writer:
        for shard in sorted(finished(folder)):
            rows = [
                {"index": one.number, "path": one.path, "reason": one.reason}
                for one in failures_of(shard_file(folder, shard))
            ]
            n += len(rows)
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, ERROR_COLUMNS))
    return n
