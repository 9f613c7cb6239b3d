"""The same work on Ray Data: `map_batches` over shard numbers on a pool of actors.

An actor holds the network and writes the shards that it is handed by the very function that the local engine calls.
A shard whose actor dies is handed to another one, and one that is written already is not made again.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from l2caf.errors import L2CAFError, RunError, StorageError
from l2caf.extras import missing
from l2caf.jobs.run.shards import shard_file
from l2caf.jobs.run.work import Job, write_shards
from l2caf.torchvision_compat import import_torchvision

try:
    import ray
    from ray import cloudpickle
except ImportError as error:
    raise missing("ray", extra="ray") from error

QUIET: Final[dict[str, Any]] = {"include_dashboard": False, "log_to_driver": False}

RayRows = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class OnRay:
    """A cluster, or this machine as one.

    Attributes:
        address: the address of the cluster's head; None for the cluster that this process is connected to, or else for
            one that is started here and stopped at the end.
        actors: the number of processes that compute.
        cpus: the number of CPUs of each actor.
        gpus: the number of GPUs of each actor; if it is more than 0, the network is on one of them.
        workers: the number of processes that read pictures for each actor.
    """

    address: str | None = None
    actors: int = 1
    cpus: float = 1
    gpus: float = 0
    workers: int = 0

    @property
    def device(self) -> str:
        """The kind of device that computes."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def threads(self) -> int:
        """The CPU threads of an actor: one for each of its CPUs."""
        return max(1, int(self.cpus))

    def work(self, job: Job, shards: Sequence[int], advance: Callable[[int], None]) -> None:
        """Write shards on the cluster.

        Args:
            job: the work; every machine of the cluster must find its input and folder under the same path.
            shards: the numbers of the shards to write.
            advance: called with the number of a shard's pictures when the shard is written.

        Raises:
            RunError: if the cluster is not there, or the run cannot go on.
            StorageError: if a shard cannot be written.
        """
        started = self._connect()
        try:
            self._map(job, shards, advance)
        finally:
            if started:
                ray.shutdown()

    def _connect(self) -> bool:
        """Whether a connection was made here."""
        if ray.is_initialized():
            return False
        cpus = None if self.address else max(1, round(self.actors * self.cpus)) + 1
        try:
            ray.init(self.address, num_cpus=cpus, logging_level=logging.ERROR, **QUIET)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunError(f"there is no Ray cluster at {self.address}: {error}") from error
        return True

    def _map(self, job: Job, shards: Sequence[int], advance: Callable[[int], None]) -> None:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        job = replace(job, loaded=replace(job.loaded, model=job.loaded.model.cpu()))
        kept = ray.put(cloudpickle.dumps(job))  # type: ignore[no-untyped-call]  # for as long as actors may start
        numbers = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        written = numbers.map_batches(
            _Actor,
            fn_constructor_args=(kept, self.workers),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=self.actors),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
        )
        try:
            for row in written.iter_rows():
                if row["fault"]:
                    raise (StorageError if row["kind"] == "StorageError" else RunError)(row["fault"])
                advance(int(row["pictures"]))
        except ray.exceptions.RayError as error:
            raise RunError(f"Ray could not do the work: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The line of a remote traceback that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class _Actor:
    """One process that computes."""

    def __init__(self, job: Any, workers: int) -> None:
        with suppress(ImportError):
            import_torchvision()  # before a network's code does
        self.job: Job = cloudpickle.loads(ray.get(job))
        self.workers = workers
        if torch.cuda.is_available() and ray.get_gpu_ids():
            self.job.loaded.model.cuda()

    def __call__(self, batch: RayRows) -> RayRows:
        """Write the shards of a batch, and say how many pictures each has, or what went wrong."""
        outcomes = [self._write(int(shard)) for shard in batch["shard"]]
        return {name: np.array([one[name] for one in outcomes]) for name in ("pictures", "kind", "fault")}

    def _write(self, shard: int) -> dict[str, int | str]:
        size, n = self.job.options.shard_size, len(self.job.source)
        try:
            if not shard_file(self.job.folder, shard).is_file():
                write_shards(self.job, [shard], workers=self.workers)
        except L2CAFError as error:
            return {"pictures": 0, "kind": type(error).__name__, "fault": str(error)}
        return {"pictures": min(size, n - shard * size), "kind": "", "fault": ""}
