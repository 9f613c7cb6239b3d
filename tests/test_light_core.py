"""What `pip install l2caf` alone gives, in fresh processes: which modules are loaded, and what works without extras."""

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from l2caf.cli import COMMANDS, app

OPTIONAL = (
    "timm", "sklearn", "skimage", "scipy", "matplotlib", "pandas", "pyarrow", "ray", "av", "cv2", "torchmetrics",
    "nibabel", "accelerate", "pytorch_metric_learning", "transformers", "captum", "torchcam", "pytorch_grad_cam",
)  # fmt: skip
HEAVY = (*OPTIONAL, "torchvision", "typer", "rich")
WITHOUT_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))\n"
COMMAND_LINE = "from l2caf.cli import main; main()"


def python(code: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )


def loaded_after(code: str, *arguments: str) -> set[str]:
    """Which packages a fresh process has imported when `code` is through, whatever its exit code."""
    watched = f"import atexit, sys; atexit.register(lambda: print('\\nLOADED', *sys.modules))\n{code}"
    done = python(watched, *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return {name.partition(".")[0] for name in done.stdout.rpartition("LOADED ")[2].split()}


def test_importing_l2caf_loads_no_torch_and_lists_its_names() -> None:
    packages = loaded_after("import l2caf; assert {'L2CAF', 'results', 'UnitL2'} <= set(dir(l2caf))")
    assert "l2caf" in packages
    assert not packages & {"torch", "numpy", "jaxtyping", *HEAVY}


@pytest.mark.parametrize("code", ["import l2caf; l2caf.L2CAF", "from l2caf import *; L2CAF, UnitL2, Certificate"])
def test_the_core_loads_torch_and_nothing_that_it_can_do_without(code: str) -> None:
    packages = loaded_after(code)
    assert "torch" in packages
    assert not packages & set(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["reproduce"], ["no-command"]])
def test_the_command_line_knows_its_commands_without_importing_them(arguments: list[str]) -> None:
    packages = loaded_after(COMMAND_LINE, *arguments)
    assert "typer" in packages
    assert not packages & {"torch", "numpy", "torchvision", *OPTIONAL}


def test_importing_the_models_leaves_log_levels_alone() -> None:
    code = """
import logging
def levels():
    known = ["", "timm", "torchvision", "huggingface_hub", "l2caf", *logging.root.manager.loggerDict]
    return {name: logging.getLogger(name).level for name in known}
import torch
before = levels()
import l2caf.models
after = levels()
print({name: after[name] for name in before if after[name] != before[name]}, after["timm"])
"""
    assert python(code).stdout.strip() == "{} 0"


def test_every_module_needs_at_most_an_extra_that_it_names() -> None:
    code = f"""{WITHOUT_EXTRAS}
import importlib, pkgutil
import l2caf
from l2caf.errors import ExtraMissingError
for info in pkgutil.walk_packages(l2caf.__path__, "l2caf."):
    try:
        importlib.import_module(info.name)
    except ExtraMissingError as error:
        assert "l2caf[" in str(error), error
print("done")
"""
    done = python(code)
    assert done.stdout == "done\n", done.stderr


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, and beside it a module with a network of one's own."""
    folder = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / "noise.png")
    (folder / "mine.py").write_text(
        """
from torch import nn

def tiny(n=4):
    return nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, n))

def resnet():
    from l2caf.models import load
    return load("resnet18", pretrained=False).model
""",
        encoding="utf-8",
    )
    return folder / "noise.png"


@pytest.mark.parametrize("model", ["mine:tiny", "mine:resnet", "embedded/digits"])
def test_pictures_are_explained_without_any_extra(model: str, picture: Path, tmp_path: Path) -> None:
    code = WITHOUT_EXTRAS + "sys.path.insert(0, '.')\n" + COMMAND_LINE
    done = python(code, "explain", picture, "-m", model, "--size", 64, "-o", tmp_path / "out", cwd=picture.parent)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (["explain", "PICTURE", "-m", "timm/resnet18", "-o", "OUT"], "timm", "timm"),
        (["explain", "PICTURE", "-m", "mobilenetv2_100", "-o", "OUT"], "timm", "timm"),
        (["explain", "PICTURE", "-m", "hf/owner/name", "-o", "OUT"], "transformers", "hf"),
        (["video", "PICTURE.mp4", "-m", "embedded/digits", "-o", "OUT"], "PyAV", "video"),
        (["run", "-i", "PICTURE", "-m", "embedded/digits", "-o", "OUT"], "pyarrow", "scale"),
    ],
)
def test_a_missing_extra_ends_in_one_line_that_names_it(
    arguments: list[str], library: str, extra: str, picture: Path, tmp_path: Path
) -> None:
    (picture.parent / "noise.png.mp4").touch()
    named = [one.replace("PICTURE", str(picture)).replace("OUT", str(tmp_path / "out")) for one in arguments]
    done = python(WITHOUT_EXTRAS + COMMAND_LINE, *named)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert library in done.stderr.splitlines()[-1]
    assert f"l2caf[{extra}]" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_that_help_shows_of_a_command_is_the_commands_own(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    assert COMMANDS[name][1] in " ".join(shown.output.split())


def cpu_s(code: str, *arguments: str) -> float:
    """Processor seconds of a fresh process; unlike wall time, other processes hardly change them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(code, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_and_version_cost_little_more_than_the_libraries_that_print_them() -> None:
    libraries = "import typer, rich, typer.rich_utils"
    costs = [[cpu_s(libraries), cpu_s(COMMAND_LINE, "--help"), cpu_s(COMMAND_LINE, "--version")] for _ in range(5)]
    base, help_, version = map(median, zip(*costs, strict=True))
    assert help_ < 2 * base
    assert version < 2 * base


def test_the_core_adds_at_most_three_tenths_of_a_second_to_torch() -> None:
    code = "import torch, time; t = time.process_time(); import l2caf; l2caf.L2CAF; print(time.process_time() - t)"
    assert median(float(python(code).stdout) for _ in range(3)) < 0.3
