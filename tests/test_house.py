"""The counters of `benchmarks/house.py` on a tree small enough to count by hand."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks import house
from benchmarks.house import Kind, Row, counted, files_to_touch, read
from benchmarks.way import followed, way

FILES = {
    "layouts.py": '''
"""Words such as isinstance(x, Frames), Any and noqa do not count in a docstring."""

from typing import Any  # an import is no use

class Frames:
    """A class.

    Attributes:
        n: of the frames.
        size: likewise.
        order: the order of the frames.
        place: where.
    """

    n: Any

def f(x: Any) -> bool:
    return isinstance(x, Frames) or isinstance(x, int | Frames)  # noqa: SIM101

def g(x):
    return isinstance(x, (int, str))
''',
    "jobs/one.py": '''
from l2caf.layouts import Frames

class Options:
    """One."""

class _Own:
    """Not public."""
''',
    "jobs/two.py": '''
class Options:
    """Another one."""

class _Own:
    """Not public either."""

NAMES = {"frames": 1}
''',
    "cli/run.py": "def run(\n" + "    a,\n" * 50 + "):\n    pass\n",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        file = tmp_path / "src" / "l2caf" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip(), encoding="utf-8")
    (tmp_path / "tests" / "jobs").mkdir(parents=True)
    (tmp_path / "tests" / "jobs" / "test_one.py").touch()
    return tmp_path


def measured(root: Path) -> dict[str, str]:
    return {row.measure: row.now for row in counted(read(root), root / "tests")}


def test_each_thing_is_counted_as_often_as_the_code_has_it(root: Path) -> None:
    now = measured(root)
    assert now["lines of src"] == str(sum(len(text.strip().splitlines()) for text in FILES.values()))
    assert now["lines with `isinstance`"] == "2"
    assert now["`isinstance` on `Frames`"] == "2"
    assert now["`noqa`"] == "1"
    assert now["`Any`"] == "2"
    assert now["modules of the core without a mirrored test"] == "1 (layouts.py)"
    assert now["modules without one, of 4"] == "3"
    assert now["public class names used twice"] == "1 (Options)"
    assert now["entries of Args and Attributes that begin as fragments"] == "3"


def test_comments_for_readers_are_set_against_lines_of_code_alone(root: Path) -> None:
    code = {"layouts.py": 7, "jobs/one.py": 3, "jobs/two.py": 3, "cli/run.py": 53}
    assert float(measured(root)["comments per 100 lines of code"]) == round(100 / sum(code.values()), 1)


@pytest.mark.parametrize(("lines", "found"), [(39, "0"), (40, "1 (jobs/long.py:f 41)")])
def test_a_function_is_long_by_its_lines_without_the_docstring(root: Path, lines: int, found: str) -> None:
    text = 'def f():\n    """Two\n    lines."""\n' + "    pass\n" * lines
    (root / "src" / "l2caf" / "jobs" / "long.py").write_text(text, encoding="utf-8")
    assert measured(root)["functions over 40 lines"] == found


@pytest.mark.parametrize(("lines", "found"), [(300, "0"), (301, "1 (jobs/long.py)")])
def test_a_file_is_long_from_301_lines_on(root: Path, lines: int, found: str) -> None:
    (root / "src" / "l2caf" / "jobs" / "long.py").write_text("x = 1\n" * lines, encoding="utf-8")
    assert measured(root)["files over 300 lines"] == found


def test_the_files_to_touch_are_those_that_name_a_member_in_code_or_as_a_string(root: Path) -> None:
    sources = read(root)
    by_class, by_name = (Kind("layout", ((name,),), "", 2) for name in ("Frames", "frames"))
    assert files_to_touch(sources, by_class) == [["jobs/one.py", "layouts.py"]]
    assert files_to_touch(sources, by_name) == [["jobs/two.py"]]
    assert files_to_touch(sources, Kind("layout", (("Frames",),), "", 2, ("jobs/one.py",))) == [["layouts.py"]]


def test_a_member_that_was_renamed_counts_as_missed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, is_met in (("Frames", True), ("Gone", False)):
        monkeypatch.setattr(house, "KINDS", (Kind("layout", ((name,),), "2", 2),))
        assert list(counted(read(root), root / "tests"))[-1].is_met is is_met


@pytest.mark.parametrize("verdict", ["", "missed"])
def test_check_fails_where_a_target_is_missed(
    root: Path, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(house, "traced", lambda: iter(()))
    monkeypatch.setattr(house, "counted", lambda *_: iter([Row("files", "9", "3", "0", not verdict)]))
    monkeypatch.setattr("sys.argv", ["house", "--root", str(root), "--check"])
    with pytest.raises(SystemExit, match="1") if verdict else nullcontext():
        house.main()
    assert capsys.readouterr().out.endswith(f"| files | 9 | 3 | 0 | {verdict} |\n")


def pretended(name: str, code: str, **known: object) -> dict[str, object]:
    """The names of a module of the room that is not there."""
    names: dict[str, object] = {"__name__": f"l2caf.attention.{name}", **known}
    exec(code, names)  # noqa: S102
    return names


def test_the_way_counts_calls_into_a_module_as_entries_and_coming_back_as_a_stay() -> None:
    second = pretended("second", "def go(x): return x.sum()\ndef idle(n): return n")
    code = "def run(x): more(x)\ndef more(x): a.go(x); a.idle(3); a.go(x[:1])"
    first = pretended("first", code, a=SimpleNamespace(**second))
    stays, again = followed(first["run"], torch.ones(2, 3))  # type: ignore[arg-type]
    assert stays == ["first", "second", "first", "second", "first"]
    assert again == ["second"]


def test_the_way_of_the_inputs_begins_where_a_user_calls() -> None:
    stays, _ = way()
    assert stays[0] == "caf"
    assert len(set(stays)) > 1
