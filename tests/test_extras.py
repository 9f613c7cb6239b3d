import sys
from pathlib import Path

import pytest

from l2caf.errors import ExtraMissingError
from l2caf.extras import require


def test_a_library_that_is_there_is_imported() -> None:
    assert require("json.decoder", extra="video") is sys.modules["json.decoder"]


def test_a_missing_library_names_itself_and_the_extra_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ExtraMissingError, match=r"PyAV is not installed; install it with `pip install 'l2caf\[video\]'`"
    ):
        require("av", extra="video")


def test_a_library_that_lacks_a_library_of_its_own_says_so_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_library.py").write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
        require("broken_library", extra="video")
    assert not isinstance(caught.value, ExtraMissingError)
