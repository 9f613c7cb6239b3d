"""The command line: parse, call, print.

Results go to stdout, notes to stderr. Exit codes: 0 done, 1 done in part, 2 nothing done, 130 interrupted.
"""

import logging
import sys

import typer

from l2caf.cli import data as data_sets
from l2caf.cli import evaluate, explain, reproduce, retrieve, scale, train, video
from l2caf.errors import L2CAFError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data = typer.Typer(no_args_is_help=True, help="Data sets.")

for command in (
    explain.explain, explain.layers, explain.models, explain.demo, evaluate.evaluate, retrieve.retrieve,
    video.video, video.volume, scale.run, scale.show, scale.report,
):  # fmt: skip
    app.command()(command)
data.command()(data_sets.check)
app.add_typer(data, name="data")
app.add_typer(reproduce.app, name="reproduce")
app.add_typer(train.app, name="train")


def main() -> None:
    """Entry point: one line per error, no traceback."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        app()
    except L2CAFError as error:
        typer.echo(f"l2caf: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
