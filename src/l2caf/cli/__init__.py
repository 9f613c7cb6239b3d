"""The command line: parse, call, print. A new command is a function in a module of this package and an entry below."""

import logging
import sys
import warnings
from typing import Annotated, Final

import typer

from l2caf import __version__
from l2caf.cli.deferred import add_deferred
from l2caf.errors import L2CAFError

ABOUT: Final = """See what a trained vision network looks at.

Results go to stdout, notes to stderr. Exit codes: 0 done, 1 done in part, 2 nothing done, 130 interrupted."""

GROUPS: Final = {"data": "Data sets.", "reproduce": "The paper's figures and tables.", "train": "Train networks."}

# Each command, the function that it calls, and the first line of that function's docstring for `l2caf --help`. The
# function's module is imported when the command is run, and may import at its top whatever it needs.
COMMANDS: Final = {
    "explain": ("explain:explain", "Show where a network looks, for pictures and folders of pictures."),
    "layers": (
        "explain:layers",
        "List every layer with a spatial grid, whether it follows the picture and reaches the output, and the default.",
    ),
    "models": ("explain:models", "List the networks that --model takes."),
    "demo": (
        "explain:demo",
        "Explain pictures that l2caf makes itself, with the network that it carries: needs no download.",
    ),
    "evaluate": (
        "evaluate:evaluate",
        "Judge methods by the boxes their maps give: GT-known, Top-1, Top-5, MaxBoxAcc, MaxBoxAccV2, pointing games.",
    ),
    "retrieve": ("retrieve:retrieve", "Find the pictures of a folder that are most like one, and what makes them so."),
    "video": ("video:video", "Show where a network looks in a film, frame by frame, as MP4, GIF and film strip."),
    "volume": ("video:volume", "Show where a network looks in a scan, as slices, projections and a NIfTI map."),
    "run": ("scale:run", "Find the maps of a whole data set. Given again, the command goes on where the run stopped."),
    "show": ("scale:show", "Draw a map of a run over its picture, and say what is known of it."),
    "report": ("scale:report", "Make one self-contained page of a run of any size."),
    "data check": ("data:check", "Say what is found of a data set and what is missing."),
    "reproduce figure9": ("reproduce:figure9", "Attention of a recurrent retrieval network at every time step."),
    "reproduce figure10": (
        "reproduce:figure10",
        "Sanity checks: what is left of each method's maps when the network's weights are drawn anew.",
    ),
    "reproduce figure11": ("reproduce:figure11", "One class-oblivious map of each picture under each constraint."),
    "reproduce figure12": (
        "reproduce:figure12",
        "Time of a class-oblivious map: the paper's descent, vanilla and fast, and ours, in forward passes.",
    ),
    "reproduce table1": (
        "reproduce:table1",
        "Localisation without fine-tuning: Grad-CAM beside L2-CAF, the paper's figures beside ours.",
    ),
    "reproduce table2": (
        "reproduce:table2",
        "Localisation by networks fine-tuned for it: GAP, ADL and ACoL, the paper's figures beside ours.",
    ),
    "reproduce table3": (
        "reproduce:table3",
        "Localisation by retrieval networks: Grad-CAM and Grad-CAM-abs beside L2-CAF, the paper's figures beside ours.",
    ),
    "train wsol": ("train:wsol", "Fine-tune a network for localisation by GAP, ADL or ACoL, as in Table 2."),
    "train retrieval": ("train:retrieval", "Train an embedding network by triplets or N-pairs, as in Table 3."),
}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=ABOUT)
_groups = {"": app} | {name: typer.Typer(no_args_is_help=True, help=summary) for name, summary in GROUPS.items()}
for _name, (_place, _summary) in COMMANDS.items():
    _group, _, _command = _name.rpartition(" ")
    add_deferred(_groups[_group], _command, f"{__name__}.{_place}", _summary)
for _name in GROUPS:
    app.add_typer(_groups[_name], name=_name)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"l2caf {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Options that come before any command."""


def main() -> None:
    """Run the command line; an error of l2caf is one line on stderr, without a traceback."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        app()
    except L2CAFError as error:
        typer.echo(f"l2caf: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
