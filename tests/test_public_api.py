import ast
from pathlib import Path

import pytest

import l2caf


@pytest.mark.parametrize("name", l2caf._MODULES)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    assert (getattr(l2caf, name).__doc__ or "").strip()


def test_the_public_names_are_sorted_and_everything_the_readme_imports_is_among_them() -> None:
    assert sorted(l2caf.__all__) == sorted(set(l2caf.__all__))
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    imported = [line.split("import ")[1] for line in readme.splitlines() if "from l2caf import" in line]
    names = {name.strip() for line in imported for name in line.split("#")[0].split(",")}
    assert names
    assert names <= set(l2caf.__all__)


def test_type_checkers_see_each_public_name_where_it_is_imported_from() -> None:
    tree = ast.parse(Path(l2caf.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }
    assert seen == l2caf._MODULES | {"__version__": "l2caf.version"}


def test_every_public_name_is_listed_and_an_unknown_one_is_an_attribute_error() -> None:
    assert {*l2caf.__all__, "results"} <= set(dir(l2caf))
    with pytest.raises(AttributeError, match="'l2caf' has no attribute 'L2CAFF'"):
        _ = l2caf.L2CAFF
