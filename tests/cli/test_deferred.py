import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from l2caf.cli.deferred import add_deferred


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An application with a command of a module that lies in a new folder."""
    (tmp_path / "command_of_this_test.py").write_text(
        "def shout(word: str, times: int = 1) -> None:\n"
        '    "Print a word in capitals."\n'
        "    print(word.upper() * times)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "command_of_this_test", raising=False)
    app = typer.Typer(add_completion=False)
    app.callback()(lambda: None)
    add_deferred(app, "shout", "command_of_this_test:shout", "Print a word in capitals.")
    return app


def test_a_command_is_listed_without_its_module_and_imported_when_it_is_run(app: typer.Typer) -> None:
    listed = CliRunner().invoke(app, ["--help"])
    assert "Print a word in capitals." in listed.output
    assert "command_of_this_test" not in sys.modules
    assert CliRunner().invoke(app, ["shout", "map", "--times", "2"]).output == "MAPMAP\n"


def test_a_commands_own_options_are_in_its_help_and_errors(app: typer.Typer) -> None:
    assert "--times" in CliRunner().invoke(app, ["shout", "--help"], env={"TERM": "dumb"}).output
    wrong = CliRunner().invoke(app, ["shout", "map", "--times", "two"])
    assert wrong.exit_code == 2
    assert "--times" in wrong.output
