import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from l2caf import Attention
from l2caf.data.digits import boxed_digits
from l2caf.experiments import table1, tables
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


def test_figure_10_says_what_is_left_when_weights_are_drawn_anew(tmp_path: Path) -> None:
    file = tmp_path / "figures" / "figure10.png"
    result = run("reproduce", "figure10", "-o", file, "--seeds", 1, "--methods", "l2caf,centre")
    assert result.returncode == 0, result.stderr
    rows = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    ranks = {(row["method"], row["stage"]): row["rank"] for row in rows}
    assert ranks["centre", "all layers"] == 1
    assert ranks["l2caf", "all layers"] < 0.5
    with Image.open(file) as figure:
        assert figure.height > 6 * 224


def test_figure_12_sets_ours_beside_the_papers_descent(tmp_path: Path) -> None:
    file = tmp_path / "figure12.png"
    result = run("reproduce", "figure12", "timm/test_resnet", "-o", file)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert row["certificate"] == "global"
    assert row["loss_gap"] < 1e-3
    assert row["vanilla_cost"] > row["ours"]["cost"]
    with Image.open(file) as figure:
        assert min(figure.size) > 200


def test_evaluate_judges_methods_on_a_boxed_data_set(tmp_path: Path) -> None:
    boxed_digits(tmp_path / "scenes", length=5, seed=3)
    arguments = ["evaluate", "--data", f"csv:{tmp_path / 'scenes'}", "--model", "embedded/digits", "--workers", "0"]
    result = run(*arguments, "--methods", "gradcam,l2caf", "--protocols", "cam-paper,adl", "-o", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "| l2caf | adl |" in result.stdout
    assert (tmp_path / "run" / "results.md").is_file()
    again = run(*arguments, "--methods", "gradcam", "-o", tmp_path / "run")
    assert again.returncode == 2
    assert "holds another run" in again.stderr


def test_data_check_says_what_is_missing_and_where_to_get_it(tmp_path: Path) -> None:
    boxed_digits(tmp_path, length=3, seed=3)
    files = sorted(tmp_path.glob("*.png"))
    files[0].unlink()
    files[1].write_bytes(b"broken")
    result = run("data", "check", tmp_path)
    assert result.returncode == 1
    assert "2 pictures of" in result.stdout
    assert "1 pictures are missing and 1 cannot be read" in result.stderr


def test_table1_can_be_made_from_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "DIGIT_SCENES", 4)
    monkeypatch.setattr(tables, "SEEDS", (0, 1))
    rows = table1.TABLE1.make("digits", tmp_path / "table1")
    assert {row.method for row in rows} == set(table1.METHODS)
    assert {row.cls1 for row in rows} == {100}
    assert all(row.loc1 <= row.loc5 <= row.gt_known for row in rows)
    found = {row.method: row.gt_known for row in rows if row.protocol == "cam-paper"}
    assert found.pop("centre") == found.pop("whole") == 0  # digits lie anywhere and are small
    assert min(found.values()) >= 75  # 7 of the 8 scenes by each method when this was written
    assert "| embedded/digits | gradcam | cam-code |" in (tmp_path / "table1" / "table1.md").read_text(encoding="utf-8")
