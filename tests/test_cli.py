import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from l2caf import Attention
from l2caf.models import ModelCard, load


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small timm network with its card beside them."""
    folder = tmp_path_factory.mktemp("weights")
    loaded = load("timm/test_resnet", card=ModelCard(arguments={"num_classes": 7}), pretrained=False)
    save_file(loaded.model.state_dict(), folder / "small.safetensors")
    (folder / "small.json").write_text(json.dumps({"size": 96, "mean": [0.5], "std": [0.5]}), encoding="utf-8")
    return folder / "small.safetensors"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from l2caf.cli import main; main()"
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_explain_writes_a_page_and_filters_lists_bad_pictures_and_says_so_by_its_exit_code(
    weights: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(pictures / "<b>good.png")
    (pictures / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    result = run("explain", pictures, "-m", "timm/test_resnet", "--weights", weights, "--target", "top2", "-o", out)
    assert result.returncode == 1, result.stderr
    assert "bad.jpg" in result.stderr
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;good.png" in page
    assert "<b>good" not in page
    assert "http" not in page.replace("http-equiv", "")
    saved = Attention.load(next(out.glob("*good/specific")))
    assert saved.filter.shape[:2] == (1, 2)
    again = run("explain", pictures, "-m", "timm/test_resnet", "--weights", weights, "-o", out)
    assert (again.returncode, again.stdout) == (2, "")
    assert "already holds a result" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "nowhere.jpg", "-m", "resnet18", "-o", "x"], "nowhere.jpg does not exist"),
        (["layers", "resnt18"], "unknown network 'resnt18'; did you mean 'resnet18'"),
        (["layers", "resnet18", "--weights", "missing.pth"], "missing.pth do not exist"),
        (["layers", "resnet18", "--model-arg", "colour=red"], "does not take these arguments"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_layers_marks_the_default() -> None:
    result = run("layers", "torchvision/resnet18")
    line = next(line for line in result.stdout.splitlines() if "default" in line)
    assert " layer4 " in line
    assert "7x7" in line


def test_the_demo_needs_nothing_and_writes_one_self_contained_page(tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "demo")
    assert result.returncode == 0, result.stderr
    page = tmp_path / "demo" / "index.html"
    assert str(page) in result.stdout
    text = page.read_text(encoding="utf-8")
    assert text.count("class-oblivious)</bdi>") == 10
    assert text.count('class="badge"') == 6 * 3 + 2 * 2 + 2 * 4
    assert run("demo", "-o", tmp_path / "demo").returncode == 0  # and may be run again


def test_animate_writes_slow_motion_of_both_kinds_of_map(weights: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    arguments = ["-m", "timm/test_resnet", "--weights", weights, "--animate", "-o", tmp_path / "out"]
    result = run("explain", tmp_path / "a.png", *arguments)
    assert result.returncode == 0, result.stderr
    names = {path.name for path in (tmp_path / "out" / "00000-a").iterdir()}
    assert {"oblivious.gif", "oblivious.mp4", "specific.gif", "specific.mp4"} <= names


def test_figure_11_comes_from_one_command(tmp_path: Path) -> None:
    result = run("reproduce", "figure11", "-o", tmp_path / "f.png")
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "f.png") as figure:
        assert figure.width > figure.height
    losses = {
        line.split("│")[1].strip(): float(line.split("│")[2]) for line in result.stdout.splitlines() if "│" in line
    }
    assert losses["L2-CAF"] <= losses["L2, nonnegative"] + 1e-3 <= losses["Gaussian"] + 1e-3
