"""The commands, as a user gives them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from l2caf.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def l2caf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Exit code, stdout and stderr of a command."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["l2caf", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, *capsys.readouterr()

    return call


def test_run_show_and_report_from_the_command_line(l2caf: Call, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = ["run", "--input", scenes, "--model", "embedded/digits", "--shard-size", 16, "--workers", 1, "-o", folder]
    code, out, err = l2caf(*run, "--targets", "top2", "--compare", "gradcam")
    assert code == 1, err
    assert f"1 of 52 pictures failed: {folder / 'errors.parquet'}" in err
    assert out.strip() == str(folder)
    settings = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["settings"]
    assert {"network", "weights", "layer", "constraint", "solver", "preprocessing", "versions"} <= set(settings)

    code, _, err = l2caf(*run, "--targets", "top1")
    assert code == 2
    assert "targets was 'top2', is 'top1'" in err
    assert "compare was 'gradcam', is not given" in err

    code, _, err = l2caf("show", folder, "--row", 7, "-o", tmp_path / "row.png")
    assert code == 0
    assert "certificate: global" in err
    with Image.open(tmp_path / "row.png") as image:
        assert image.format == "PNG"
    code, _, err = l2caf("show", folder, "--row", 7, "-o", tmp_path / "nowhere" / "row.png")
    assert code == 2
    assert "row.png cannot be written: No such file or directory" in err

    code, _, err = l2caf("report", folder, "-o", tmp_path / "out" / "report.html")
    assert code == 0
    assert "102 maps shown" in err
    assert "http" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8").replace("http-equiv", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--what", "filtr"], "'filtr' cannot be kept; did you mean 'filter'"),
        (["--solver", "newton"], "unknown solver 'newton'; expected one of auto, exact"),
        (["--compare", "lime"], "unknown method 'lime'"),
        (["--actors", "4", "--address", "auto"], "--address, --actors means nothing on this machine"),
        (["--engine", "ray", "--threads", "2"], "--threads means nothing on Ray"),
    ],
)
def test_what_is_not_understood_is_one_line(
    l2caf: Call, options: list[str], message: str, scenes: Path, tmp_path: Path
) -> None:
    code, _, err = l2caf("run", "--input", scenes, "--model", "embedded/digits", *options, "-o", tmp_path / "run")
    assert code == 2
    assert message in err
    assert not (tmp_path / "run").exists()
