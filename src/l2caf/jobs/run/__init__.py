"""Whole data sets: resumable, sharded, on one machine or on Ray."""

try:
    import pyarrow as pa  # noqa: F401
except ImportError as error:
    from l2caf.extras import missing

    raise missing("pyarrow", extra="scale") from error

from l2caf.jobs.run.archives import open_source as open_source
from l2caf.jobs.run.lifecycle import Local as Local
from l2caf.jobs.run.lifecycle import Outcome as Outcome
from l2caf.jobs.run.lifecycle import run as run
from l2caf.jobs.run.options import RunOptions as RunOptions
from l2caf.jobs.run.reading import Results as Results
from l2caf.jobs.run.reading import results as results
