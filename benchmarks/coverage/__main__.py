"""The driver: every network of a shard, one after the other. A run that stopped is taken up.

`wrong` is what may not be; the command then ends with 1.
"""

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from benchmarks.coverage import (
    monai_networks,
    smp_networks,
    timm_networks,
    torchvision_networks,
    transformers_networks,
    ultralytics_networks,
)
from benchmarks.coverage.subject import Subject
from benchmarks.coverage.table import read, show, write
from benchmarks.coverage.trial import Row, try_one

SOURCES: Final[dict[str, Callable[[], Iterator[Subject]]]] = {
    "timm": timm_networks.subjects,
    "torchvision": torchvision_networks.subjects,
    "transformers": transformers_networks.subjects,
    "ultralytics": ultralytics_networks.subjects,
    "monai": monai_networks.subjects,
    "smp": smp_networks.subjects,
}


def main() -> None:
    """Try every network of a shard; write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a fresh folder starts afresh")
    parser.add_argument("--only", choices=list(SOURCES), nargs="+", default=list(SOURCES), help="these libraries")
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th network from the i-th on")
    parser.add_argument("--names", nargs="+", help="only networks whose name contains one of these")
    parser.add_argument("--seconds", type=int, default=600, help="the longest that one network may take")
    parser.add_argument("--peers", action="store_true", help="ask torchcam, pytorch-grad-cam and captum as well")
    arguments = parser.parse_args()
    first, step = (int(part) for part in arguments.shard.split("/"))
    file = arguments.output / ("coverage.json" if step == 1 else f"coverage-{first}-of-{step}.json")
    rows = read(file)
    done = {row.name for row in rows}
    wanted = [one for one in subjects(arguments.only) if is_named(one.name, arguments.names)]
    for subject in wanted[first::step]:
        if subject.name not in done:
            limited = replace(subject, seconds=arguments.seconds) if isinstance(subject, Subject) else subject
            rows.append(try_one(limited, peers=arguments.peers) if isinstance(limited, Subject) else limited)
            print(json.dumps(asdict(rows[-1])), flush=True)
            gc.collect()
            write(rows, file)
    show(rows)
    sys.exit(any(row.outcome == "wrong" for row in rows))


def subjects(libraries: list[str]) -> Iterator[Subject | Row]:
    """Every network of some libraries.

    Args:
        libraries: their names.

    Yields:
        The networks; for a library that is not installed, a row that says so.
    """
    for library in libraries:
        try:
            yield from SOURCES[library]()
        except ImportError as error:
            yield Row(library, "skipped", f"{error}; `pip install 'l2caf[coverage]'`")


def is_named(name: str, parts: list[str] | None) -> bool:
    """Whether a name contains one of these parts; any does where there are none."""
    return parts is None or any(part in name for part in parts)


if __name__ == "__main__":
    main()
