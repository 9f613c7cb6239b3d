"""What is known so far, written after every network, and printed at the end."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.coverage.peers import PEERS
from benchmarks.coverage.trial import OUTCOMES, Row
from benchmarks.measure import machine


def read(file: Path) -> list[Row]:
    """What an earlier run did that stopped."""
    if not file.is_file():
        return []
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]


def write(rows: Sequence[Row], file: Path) -> None:
    """What is known so far: a run that is stopped leaves what it did."""
    file.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def show(rows: Sequence[Row]) -> None:
    """Print how many networks of each library had which outcome, what peers gave, and why the others are not there."""
    asked = {row.name: row.peers for row in rows if row.peers}
    table = Table("library", *OUTCOMES, *(PEERS if asked else ()))
    for library in dict.fromkeys(row.name.split("/")[0] for row in rows):
        own = [row for row in rows if row.name.split("/")[0] == library]
        counts = [str(sum(row.outcome == outcome for row in own)) for outcome in OUTCOMES]
        answers = [asked[row.name] for row in own if row.name in asked]
        maps = [f"{sum(one[peer] == 'map' for one in answers)}/{len(answers)}" for peer in PEERS] if asked else []
        table.add_row(library, *counts, *maps)
    console = Console(width=160)
    console.print(table)
    for row in rows:
        if row.outcome != "on the picture":
            console.print(f"{row.name}: {row.outcome}: {row.why}", markup=False)
