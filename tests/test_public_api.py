from pathlib import Path

import pytest

import l2caf


@pytest.mark.parametrize("name", [name for name in l2caf.__all__ if name != "__version__"])
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    assert (getattr(l2caf, name).__doc__ or "").strip()


def test_the_public_names_are_sorted_and_everything_the_readme_imports_is_among_them() -> None:
    assert sorted(l2caf.__all__) == sorted(set(l2caf.__all__))
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    imported = [line.split("import ")[1] for line in readme.splitlines() if "from l2caf import" in line]
    names = {name.strip() for line in imported for name in line.split("#")[0].split(",")}
    assert names
    assert names <= set(l2caf.__all__)
