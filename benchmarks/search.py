"""What one query among 100,000 embeddings costs, beside the product of matrices that no exact search can do without.

    python -m benchmarks.search --output docs/results/speed

Embeddings are random, of 128 dimensions, in float32; the ten nearest are asked for. Searches and the product take
turns; figures are medians and worst cases over repetitions.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, get_args

import torch

from benchmarks.measure import interleaved, machine, ratios
from l2caf.retrieval import Gallery
from l2caf.retrieval.search import Similarity

SIZE: Final = 100_000
DIMENSIONS: Final = 128
K: Final = 10
PRODUCT: Final = "product and topk"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=51)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    points, query = torch.randn(SIZE, DIMENSIONS), torch.randn(1, DIMENSIONS)
    searches: dict[str, Callable[[], object]] = {
        metric: partial(Gallery(points, metric).nearest, query, K) for metric in get_args(Similarity)
    }
    seconds = interleaved({PRODUCT: lambda: (query @ points.T).topk(K), **searches}, arguments.repetitions)
    cost = ratios(seconds, PRODUCT)
    rows = [
        {"search": name, "median_ms": 1e3 * statistics.median(times), "worst_ms": 1e3 * max(times), "cost": cost[name]}
        for name, times in seconds.items()
    ]
    result = {
        "machine": machine(), "gallery": [SIZE, DIMENSIONS], "k": K, "repetitions": arguments.repetitions, "rows": rows
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "search.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
