"""The recipe of localisation networks, and the public layouts that it learns from."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from l2caf import L2CAF
from l2caf.cli import app
from l2caf.errors import DataError, L2CAFError, TrainingError, WeightsError
from l2caf.methods.registry import methods
from l2caf.models import load, wsol
from l2caf.recipes import wsol_data
from l2caf.recipes.recipe import train
from l2caf.recipes.wsol import LocalisationRecipe, network
from l2caf.recipes.wsol_data import read_trees
from l2caf.training import Options

OPTIONS = Options(steps=3, learning_rate=0.01, save_every=2, log_every=1)
CARD = replace(wsol.card("digits-gap"), size=(32, 32))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "import torch; torch.set_num_threads(1); from l2caf.cli import main; main()"
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def inside(*arguments: object) -> object:
    """The same without a new process: the exit code."""
    return app(list(map(str, arguments)), standalone_mode=False)


def picture(file: Path, brightness: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(brightness).integers(0, 60, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(brightness)).save(file)


def lines(file: Path, rows: list[str]) -> None:
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Two birds, four training and two test pictures of each."""
    root = tmp_path / "cub"
    files = [(f"00{bird}.Bird{bird}/{n}.jpg", bird, n < 4) for bird in (1, 2) for n in range(6)]
    for file, bird, _ in files:
        picture(root / "images" / file, 20 + 120 * (bird - 1))
    numbered = list(enumerate(files, start=1))
    lines(root / "images.txt", [f"{key} {file}" for key, (file, _, _) in numbered])
    lines(root / "image_class_labels.txt", [f"{key} {bird}" for key, (_, bird, _) in numbered])
    lines(root / "train_test_split.txt", [f"{key} {int(is_train)}" for key, (_, _, is_train) in numbered])
    lines(root / "bounding_boxes.txt", [f"{key} 5 5 30 25" for key, _ in numbered])
    lines(root / "classes.txt", ["1 001.Bird1", "2 002.Bird2"])
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder per class, seven pictures in each."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(7):
            picture(tmp_path / "tree" / name / f"{number}.png", 20 + 120 * label)
    return tmp_path / "tree"


def test_a_network_is_trained_on_cub_resumed_and_evaluated_from_the_command_line(
    cub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [
        "train", "wsol", "--data", f"cub:{cub}", "--arch", "digits", "--method", "adl", "-o", out, "--steps", 4,
        "--batch-size", 4, "--size", 32, "--no-pretrained", "--precision", "bf16",
    ]  # fmt: skip
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out / "weights.safetensors")
    with pytest.raises(TrainingError, match="holds a run; take it up with --resume"):
        inside(*arguments)
    assert not inside(*arguments, "--resume")
    with pytest.raises(TrainingError, match="seed was 0, is 1"):
        inside(*arguments, "--resume", "--seed", 1)
    loaded = load("wsol/digits-adl", weights=out / "weights.safetensors")
    assert loaded.card.size == (32, 32)
    assert loaded.card.labels == ("001.Bird1", "002.Bird2")
    assert loaded.model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
    assert not inside(
        "evaluate", "--data", f"cub:{cub}", "-m", "wsol/digits-adl", "--weights", out / "weights.safetensors",
        "--methods", "gradcam,l2caf-specific", "--protocols", "adl", "--workers", 0, "-o", tmp_path / "judged",
    )  # fmt: skip
    assert "| l2caf-specific | adl |" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["gap", "acol"])
def test_a_folder_per_class_is_enough(tree: Path, tmp_path: Path, method: str) -> None:
    request = LocalisationRecipe(str(tree), f"digits-{method}", batch_size=4, size=32, pretrained=False)
    result = train(request, OPTIONS, tmp_path / "run")
    assert 0 <= result.best <= 1
    card = json.loads((tmp_path / "run" / "weights.json").read_text(encoding="utf-8"))
    assert card["model"] == f"wsol/digits-{method}"
    assert card["labels"] == ["cat", "dog"]
    loaded = load(f"wsol/digits-{method}", weights=tmp_path / "run" / "weights.safetensors")
    assert L2CAF(loaded.model)(torch.randn(1, 3, 32, 32)).filter.shape == (1, 1, 4, 4)


def test_two_pictures_of_14_are_held_out_and_none_is_in_both(tree: Path) -> None:
    trees = read_trees(str(tree), CARD)
    assert (len(trees.train), len(trees.validation)) == (12, 2)
    assert isinstance(trees.train, wsol_data._Pictures)
    assert isinstance(trees.validation, wsol_data._Pictures)
    assert not {file for file, _ in trees.train.samples} & {file for file, _ in trees.validation.samples}
    inputs, label = trees.validation[1]
    assert (inputs.shape, label) == ((3, 32, 32), 1)


def test_a_tree_with_train_and_val_is_taken_as_it_is(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "split"
    root.mkdir()
    tree.rename(root / "train")
    for name in ("cat", "dog"):
        picture(root / "val" / name / "0.png", 50)
    trees = read_trees(str(root), CARD)
    assert (len(trees.train), len(trees.validation)) == (14, 2)
    (root / "val" / "dog").rename(root / "val" / "cow")
    with pytest.raises(DataError, match="different class folders"):
        read_trees(str(root), CARD)


def test_imagenets_classes_are_numbered_as_its_validation_pictures(tmp_path: Path) -> None:
    lines(tmp_path / "LOC_synset_mapping.txt", ["n02 tabby cat", "n01 tench"])
    for wnid in ("n01", "n02"):
        picture(tmp_path / "ILSVRC/Data/CLS-LOC/train" / wnid / f"{wnid}_1.JPEG", 30)
    picture(tmp_path / "ILSVRC/Data/CLS-LOC/val/a.JPEG", 30)
    note = tmp_path / "ILSVRC/Annotations/CLS-LOC/val/a.xml"
    note.parent.mkdir(parents=True)
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    note.write_text(f"<annotation><object><name>n02</name>{box}</object></annotation>", encoding="utf-8")
    trees = read_trees(f"ilsvrc:{tmp_path}", CARD)
    assert trees.classes == ("tench", "tabby cat")
    assert [trees.train[index][1] for index in range(2)] == [0, 1]
    assert trees.validation[0][1] == 1


def test_training_starts_from_the_backbone_that_is_given(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="do not exist"):
        train(LocalisationRecipe(str(tree), "vgg16-gap", backbone=tmp_path / "none.pth"), OPTIONS, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    still = replace(OPTIONS, steps=1, learning_rate=1e-12, weight_decay=0.0)
    train(LocalisationRecipe(str(tree), "digits-gap", batch_size=4, size=32), still, tmp_path / "run")
    trained = load_file(tmp_path / "run" / "best.safetensors")["features.stage3.conv1.weight"]
    embedded = load("embedded/digits").model.state_dict()["features.3.conv1.weight"]
    assert torch.allclose(trained, embedded, atol=1e-6)


def test_bad_input_is_refused_in_one_line(tree: Path, tmp_path: Path) -> None:
    def refused(data: object, **changes: int) -> str:
        with pytest.raises(L2CAFError) as caught:
            train(
                LocalisationRecipe(str(data), "digits-gap", size=32, pretrained=False, **changes),
                OPTIONS,
                tmp_path / "run",
            )
        return str(caught.value)

    assert "is no folder" in refused("cub:/nowhere")
    assert "has no pictures to train localisation on; the data sets that have are cub, folder, ilsvrc" in refused(
        f"cars:{tree}"
    )
    assert "a folder per class" in refused(tree / "cat")
    assert "1 to the 12 items" in refused(tree, batch_size=50)
    (tree / "dog").rename(tmp_path / "dog")
    assert "1 class" in refused(tree)
    for file in sorted((tree / "cat").iterdir())[3:]:
        file.rename(tmp_path / file.name)
    assert not (tmp_path / "run").exists()


def test_a_broken_picture_is_named(tree: Path, tmp_path: Path) -> None:
    broken = tree / "cat" / "0.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0\.png cannot be read as a picture"):
        train(
            LocalisationRecipe(str(tree), "digits-gap", batch_size=12, size=32, pretrained=False),
            OPTIONS,
            tmp_path / "run",
        )


def test_networks_are_known_by_the_names_of_the_literature() -> None:
    assert network("vgg16-gap", "adl") == network("vgg16", "adl") == "vgg16-adl"
    assert network("resnet50-se", "gap") == "resnet50se-gap"
    with pytest.raises(TrainingError, match="did you mean 'googlenet'"):
        network("goglenet", "gap")
    with pytest.raises(TrainingError, match="expected gap, adl or acol"):
        network("digits", "cam")


def test_acols_own_map_is_a_method_of_its_networks() -> None:
    torch.manual_seed(2)
    model = wsol.build("digits-acol").eval()
    inputs, classes = torch.randn(2, 3, 32, 32), torch.tensor([[3, 1], [0, 7]])
    with L2CAF(model).cut(inputs) as cut:
        maps = methods(["acol"], model)["acol"](cut, classes)
    assert maps.shape == (2, 2, 4, 4)
    assert torch.equal(maps[:, 1], model.fused(inputs, classes[:, 1]))
    with pytest.raises(DataError, match="two heads"):
        methods(["acol"], wsol.build("digits-gap"))
