"""Measure the house: size, type ladders, tests and places to touch, of the source under `src/l2caf`.

    python -m benchmarks.house                      # the table in Markdown
    python -m benchmarks.house --check              # exit code 1 where a target is missed
    PYTHONPATH=OTHER/src python -m benchmarks.house --root OTHER    # of another checkout

All but the last two rows are read from the syntax tree, so that words in docstrings do not count.

`isinstance`: lines on which it is called (the 123 of f893b53 hold 132 calls); on `Frames`: calls that name it.
`noqa`: comments that hold the word. `Any`: names in annotations and expressions, without the imports.
Functions: lines without the docstring; of a command in `cli/` only the body, since the signature lists its options.
Tests: a module (`__init__.py` apart) is mirrored where `tests/ROOM/test_NAME.py` exists.
Comments: those for readers, not for tools, per 100 lines that are neither blank, docstring nor comment.
Fragments: entries of Args and Attributes that begin as FRAGMENT does.
Files to touch: the files in which the identifiers of a member that exists occur in code or as a string: its own file,
every registry and ladder, and the package's list of public names. Files that apply the member (PAPER, `Kind.users`) do
not count, nor do the shorthands of a room (ROOM/__init__.py), in which a new member need not be listed.
Way of `inputs`: see `benchmarks/way.py`.
The column "at f893b53" holds the issue's figures, and this script's own where the issue has none.
"""

import argparse
import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.way import way

LONGEST_FILE: Final = 300
LONGEST_FUNCTION: Final = 40
CORE: Final = ("attention", "tail", "solvers", "objectives", "constraints", "layouts")
FRAGMENT: Final = re.compile(r"(of|likewise|as|in|from|by|with|such)\b|(what|where|how|which)[.,;]")
SILENT: Final = re.compile(r"#\s*(noqa|type:|fmt:|pragma)")  # comments for tools
PAPER: Final = re.compile(r"(experiments/(figure|table|clips_table|localisation)|recipes/|\w+/__init__)")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of extension, shown on members that exist.

    Attributes:
        name: the kind.
        members: for each representative the identifiers that it brings with it.
        before: files to touch at f893b53, as the issue counted them.
        target: files to touch at most.
        users: files that use the members for what they are, and need not know another one.
    """

    name: str
    members: tuple[tuple[str, ...], ...]
    before: str
    target: int
    users: tuple[str, ...] = ()


KINDS: Final = (
    Kind("solver", (("TwoSidedExact",), ("SpannedExact",)), "4", 2),
    Kind(
        "objective with its own goal",
        (("Similar", "CosineGoal"),),
        "6",
        2,
        ("retrieval/attention.py", "methods/ours.py"),
    ),
    Kind("data set", (("cars",), ("cub",)), "2 to 4", 1),
    Kind("CAM baseline", (("GradCAMAbs",),), "5", 1),
    Kind("metric", (("BoxAccuracies",), ("pointing",)), "2 to 3", 1, ("evaluation/table.py",)),
    Kind("constraint", (("UnitL1",),), "2", 2),
    Kind("layout", (("ChannelsLast",),), "2", 2, ("layouts/infer.py",)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        measure: what was counted.
        before: at f893b53, from the issue.
        now: as measured.
        target: what to reach, in words; empty where there is no target.
        is_met: whether it is reached.
    """

    measure: str
    before: str
    now: str
    target: str = ""
    is_met: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """One file.

    Attributes:
        path: its path below the package, such as `tail/replay.py`.
        text: its content.
        tree: its syntax.
    """

    path: str
    text: str
    tree: ast.Module

    @property
    def n_lines(self) -> int:
        """All lines, blank ones too."""
        return len(self.text.splitlines())

    def comments(self) -> list[tuple[int, str]]:
        """Line numbers and texts of the comments."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]

    def names(self) -> Iterator[str]:
        """Every identifier and one-word string: what code, registries and lists of exports write."""
        for node in ast.walk(self.tree):
            match node:
                case (
                    ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.Constant(value=str(name))
                ):
                    yield name
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.keyword(arg=str(name)):
                    yield name


def read(root: Path) -> list[Source]:
    """The files of `src/l2caf` below a checkout's root."""
    package = root / "src" / "l2caf"
    texts = {str(file.relative_to(package)): file.read_text(encoding="utf-8") for file in sorted(package.rglob("*.py"))}
    return [Source(path, text, ast.parse(text)) for path, text in texts.items()]


def nodes(sources: list[Source], wanted: Callable[[ast.AST], bool]) -> list[tuple[str, ast.AST]]:
    """Syntax nodes that satisfy a condition, with the file of each."""
    return [(source.path, node) for source in sources for node in ast.walk(source.tree) if wanted(node)]


def is_check(node: ast.AST, type_name: str | None = None) -> bool:
    """Whether a node calls `isinstance`, on one type where that is named."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, types]):
            named = {part.id for part in ast.walk(types) if isinstance(part, ast.Name)}
            return type_name is None or type_name in named
    return False


def isinstance_lines(sources: list[Source]) -> int:
    """Lines on which `isinstance` is called."""
    return len({(path, node.lineno) for path, node in nodes(sources, is_check)})


def long_functions(sources: list[Source]) -> list[str]:
    """Functions over the limit, as `file:name lines`."""
    found = []
    for path, node in nodes(sources, lambda node: isinstance(node, Function)):
        docstring = ast.get_docstring(node, clean=False)
        body = node.body[0 if docstring is None else 1 :]
        lines = node.end_lineno - node.lineno + 1
        if docstring is not None:
            lines -= node.body[0].end_lineno - node.body[0].lineno + 1
        if path.startswith("cli/"):
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
        if lines > LONGEST_FUNCTION:
            found.append(f"{path}:{node.name} {lines}")
    return found


def untested(sources: list[Source], tests: Path) -> tuple[list[str], int]:
    """Modules without a mirrored test, and how many modules there are."""
    modules = [Path(source.path) for source in sources if not source.path.endswith("__init__.py")]
    missing = [path for path in modules if not (tests / path.parent / f"test_{path.name}").is_file()]
    return [str(path) for path in missing], len(modules)


def in_core(path: str) -> bool:
    """Whether a file is of a room that has to be tested module by module."""
    return Path(path).parts[0].removesuffix(".py") in CORE


def shared_class_names(sources: list[Source]) -> list[str]:
    """Public names that classes of several modules have."""
    classes = [node.name for source in sources for node in source.tree.body if isinstance(node, ast.ClassDef)]
    return sorted(name for name, times in Counter(classes).items() if times > 1 and not name.startswith("_"))


def comment_density(sources: list[Source]) -> float:
    """Comments that say something, per 100 lines of code."""
    said = code = 0
    for source in sources:
        said += sum(SILENT.match(text) is None for _, text in source.comments())
        blank = {number for number, line in enumerate(source.text.splitlines(), 1) if not line.split("#")[0].strip()}
        prose = {number for docstring in docstrings(source) for number in docstring}
        code += source.n_lines - len(blank | prose)
    return 100 * said / max(code, 1)


def docstrings(source: Source) -> Iterator[range]:
    """The lines of each docstring."""
    for node in ast.walk(source.tree):
        if isinstance(node, Documented) and ast.get_docstring(node) is not None:
            yield range(node.body[0].lineno, node.body[0].end_lineno + 1)


def fragments(sources: list[Source]) -> int:
    """Entries of Args and Attributes that begin like the middle of a sentence."""
    count = 0
    for _, node in nodes(sources, lambda node: isinstance(node, Documented)):
        section = ""
        for line in (ast.get_docstring(node) or "").splitlines():
            section = line.strip() if re.fullmatch(r"\w[\w ]*:", line) else section
            entry = re.match(r" {4}\*{0,2}\w+: (.*)", line) if section in {"Args:", "Attributes:"} else None
            count += entry is not None and FRAGMENT.match(entry.group(1)) is not None
    return count


def files_to_touch(sources: list[Source], kind: Kind) -> list[list[str]]:
    """For each representative of a kind the files that name it."""
    counted = [source for source in sources if not PAPER.match(source.path) and source.path not in kind.users]
    words = {source.path: set(source.names()) for source in counted}
    return [[path for path, names in words.items() if names & set(member)] for member in kind.members]


def counted(sources: list[Source], tests: Path) -> Iterator[Row]:
    """The rows that are read from the files."""

    def row(measure: str, before: float, now: float, limit: float | None = None, named: list[str] | None = None) -> Row:
        words = "" if limit is None else "0" if limit == 0 else f"at most {limit}"
        listed = f" ({', '.join(named)})" if named else ""
        return Row(measure, f"{before}", f"{now}{listed}", words, limit is None or now <= limit)

    noqa = sum("noqa" in text for source in sources for _, text in source.comments())
    any_uses = len(nodes(sources, lambda node: isinstance(node, ast.Name) and node.id == "Any"))
    on_frames = len(nodes(sources, lambda node: is_check(node, "Frames")))
    long_files = [source.path for source in sources if source.n_lines > LONGEST_FILE]
    missing, n_modules = untested(sources, tests)
    core = [path for path in missing if in_core(path)]
    yield row("lines of src", 19773, sum(source.n_lines for source in sources), 19772)
    yield row("lines with `isinstance`", 123, isinstance_lines(sources), 59)
    yield row("`isinstance` on `Frames`", 15, on_frames, 3)
    yield row("`noqa`", 86, noqa, 39)
    yield row("`Any`", 250, any_uses, 149)
    yield row(f"files over {LONGEST_FILE} lines", 9, len(long_files), 0, long_files)
    yield row(f"functions over {LONGEST_FUNCTION} lines", 4, len(long_functions(sources)), 0, long_functions(sources))
    yield row("modules of the core without a mirrored test", 13, len(core), 0, core)
    yield row(f"modules without one, of {n_modules}", 79, len(missing))
    shared = shared_class_names(sources)
    yield row("public class names used twice", 4, len(shared), 0, shared)
    yield row("comments per 100 lines of code", 2.0, round(comment_density(sources), 1))
    yield row("entries of Args and Attributes that begin as fragments", 206, fragments(sources))
    for kind in KINDS:
        touched = files_to_touch(sources, kind)
        sizes = sorted({len(files) for files in touched})
        now = " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
        names = ", ".join(dict.fromkeys(path for files in touched for path in files))
        is_met = sizes[0] > 0 and sizes[-1] <= kind.target  # 0: the representative was renamed, so nothing is measured
        yield Row(f"files to touch: {kind.name}", kind.before, f"{now} ({names})", str(kind.target), is_met)


def traced() -> Iterator[Row]:
    """The rows that are found by calling `L2CAF` on a clip."""
    stays, again = way()
    order = " > ".join(stays)
    returns = len(stays) - len(set(stays))
    yield Row("way of `inputs`: stays, returns", "12, 9", f"{len(stays)}, {returns} ({order})")
    yield Row(
        "modules entered twice on it", "3", f"{len(again)} ({', '.join(again)})" if again else "0", "0", not again
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="checkout; this one by default")
    parser.add_argument("--check", action="store_true", help="exit with code 1 where a target is missed")
    options = parser.parse_args()
    rows = [*counted(read(options.root), options.root / "tests"), *traced()]
    print("| measure | at f893b53 | now | to reach | |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.measure} | {row.before} | {row.now} | {row.target} | {'' if row.is_met else 'missed'} |")
    if options.check and not all(row.is_met for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
