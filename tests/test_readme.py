"""What the pages for readers say is true: their Python runs, their commands exist, their links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from l2caf.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNNER = """
for line, text in {blocks!r}:
    exec(compile("\\n" * (line - 1) + text, {path!r}, "exec"), {{"__name__": "__main__"}})
"""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:src|tests|docs|benchmarks|examples)/[\w./-]+)`")


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line numbers and texts of a page's fenced blocks in one language."""
    text = page.read_text(encoding="utf-8")
    found = [match for match in FENCE.finditer(text) if match.group(1) == language]
    return [(text[: match.start()].count("\n") + 2, match.group(2)) for match in found]


def commands(page: Path) -> list[list[str]]:
    """The words of every `l2caf` command line of a page."""
    joined = [text.replace("\\\n", " ") for _, text in blocks(page, "sh")]
    lines = [shlex.split(line, comments=True) for text in joined for line in text.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["l2caf"]]


def name(value: object) -> str:
    return value.name if isinstance(value, Path) else " ".join(value) if isinstance(value, list) else str(value)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_show_python_and_commands() -> None:
    assert len(blocks(ROOT / "README.md", "python")) >= 1
    assert len(commands(ROOT / "README.md")) >= 20
    assert {page.name for page in PAGES} >= {"README.md", "CONTRIBUTING.md", "architecture.md", "python.md", "scale.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_of_a_page_runs_as_pasted(page: Path, reader: Path) -> None:
    if page.name == "scale.md":  # which reads the run that the page is about
        write_run(reader)
    script = reader / "page.py"  # a process of its own: some blocks enter things in l2caf's tables
    script.write_text(RUNNER.format(path=str(page), blocks=blocks(page, "python")), encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(  # noqa: S603
        [sys.executable, script], cwd=reader, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def write_run(folder: Path) -> None:
    """A finished `l2caf run` of 42 pictures in `maps/`."""
    (folder / "photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (42, 56, 56, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.png")
    arguments = "run --input photos/ -m embedded/digits --targets top1 --what filter,box --workers 0 -o maps/"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("words", [words for page in PAGES for words in commands(page)], ids=name)
def test_every_command_of_a_page_is_one_that_the_command_line_takes(words: list[str]) -> None:
    parsed(words)


@pytest.mark.parametrize("line", ["explain", "explain a.jpg -o out --modle resnet50 -m x", "data chekc x"])
def test_a_command_that_the_command_line_does_not_take_is_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"Missing|No such|not a valid"):
        parsed(line.split())


def parsed(words: list[str]) -> None:
    """Let the real parser take a command line apart, without running it."""
    command = typer.main.get_command(app)
    context = None
    while hasattr(command, "resolve_command"):
        context = command.make_context("l2caf", list(words), parent=context)
        _, command, words = command.resolve_command(context, words)
    command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_within_the_project_leads_to_a_file(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    missing = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = FILE.findall(page.read_text(encoding="utf-8"))
    assert not [file for file in named if not (ROOT / file).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets
