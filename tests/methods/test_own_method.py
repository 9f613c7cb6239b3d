"""A baseline of one's own: defined here, outside the package, and used by its API and by the command line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from tests.support import networks
from torch import Tensor, nn
from typer.testing import CliRunner

from l2caf import L2CAF
from l2caf.attention import Cut
from l2caf.cli import app
from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError, TargetError
from l2caf.evaluation.stored import read_maps
from l2caf.methods import METHODS, Method, OfClass, OfOutput, make, methods
from l2caf.models import load


def energy(model: nn.Module, layer: str | None, output: object) -> Method:
    """The L2 norm of each feature vector."""
    del model, layer, output
    return OfOutput(lambda cut: cut.tail.layout.vectors(cut.tail.features).norm(dim=2).reshape(-1, 1, *cut.tail.grid))


def channel(model: nn.Module, layer: str | None, output: object) -> Method:
    """The magnitude of the channel that has the number of the class."""
    del model, layer, output

    def explain(cut: Cut, targets: Int[Tensor, "b k"]) -> Float[Tensor, "b k h w"]:
        vectors = cut.tail.layout.vectors(cut.tail.features)  # (b, positions, channels)
        chosen = torch.stack([one[:, classes].T for one, classes in zip(vectors, targets, strict=True)])
        return chosen.abs().unflatten(2, cut.tail.grid)

    return OfClass(explain)


def negative(model: nn.Module, layer: str | None, output: object) -> Method:
    """A method with a fault: its maps are below 0."""
    del model, layer, output
    return OfOutput(lambda cut: -torch.ones(cut.tail.n_inputs, 1, 2, 2))


ENERGY, CHANNEL, NEGATIVE = (f"{__name__}:{factory.__name__}" for factory in (energy, channel, negative))
NOT_A_METHOD = 3


@pytest.fixture
def _registered() -> Iterator[None]:
    METHODS.register("energy")(energy)
    yield
    del METHODS._things["energy"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> BoxedSet:
    return boxed_digits(tmp_path_factory.mktemp("scenes"), length=3, seed=5)


def features(file: Path) -> np.ndarray:
    """What the default layer of the digits network says of a picture (channels, h, w), seen by a hook."""
    digits = load("embedded/digits")
    item, _ = prepare(read_picture(file), **digits.card.feeding)
    default = next(info for info in L2CAF(digits.model).layers(item[None]) if info.is_default)
    seen: list[Tensor] = []
    layer = digits.model.get_submodule(default.name)
    with torch.no_grad(), layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.clone())):
        digits.model(item[None])
    return seen[0][0].numpy()


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("_registered")
def test_it_is_made_by_its_name_or_by_its_place() -> None:
    model, x = networks.gap(), networks.pictures()
    classes = torch.tensor([[2, 0], [5, 1], [3, 3]])
    with torch.no_grad():
        said = model[0](x)
    found = methods(["energy", ENERGY, CHANNEL], model)
    assert {name: method.needs_class for name, method in found.items()} == {
        "energy": False, ENERGY: False, CHANNEL: True
    }  # fmt: skip
    with L2CAF(model).cut(x) as cut:
        for name in ("energy", ENERGY):
            assert torch.allclose(found[name](cut, None), said.square().sum(1, keepdim=True).sqrt(), atol=1e-5)
            assert torch.equal(found[name](cut, classes), found[name](cut, None).expand(3, 2, 8, 8))
        assert torch.equal(found[CHANNEL](cut, classes), said[torch.arange(3)[:, None], classes].abs())
        with pytest.raises(TargetError, match="this method explains a class; got None"):
            found[CHANNEL](cut, None)


@pytest.mark.usefixtures("_registered")
def test_the_command_line_judges_it(scenes: BoxedSet, tmp_path: Path) -> None:
    printed = run(
        "evaluate", "--data", f"csv:{scenes.pictures[0].file.parent}", "-m", "embedded/digits", "--workers", 0,
        "--methods", f"energy,{ENERGY},{CHANNEL}", "--metrics", "none", "-o", tmp_path / "run",
    )  # fmt: skip
    for row in read_maps(tmp_path / "run", scenes, []):
        said = features(row.picture.file)
        expected = {name: np.sqrt((said**2).sum(0)) for name in ("energy", ENERGY)}
        expected[CHANNEL] = np.abs(said[row.picture.label])
        assert row.maps.keys() == expected.keys()
        for name, heat in expected.items():
            assert np.allclose(row.maps[name], heat / max(heat.max(), 1e-30), atol=1e-3), name
    for name in ("energy", ENERGY, CHANNEL):
        assert f"| {name} | cam-paper |" in printed


def test_the_command_line_shows_it_beside_l2caf(scenes: BoxedSet, tmp_path: Path) -> None:
    file = scenes.pictures[1].file
    arguments = ["-m", "embedded/digits", "--method", f"{ENERGY},{CHANNEL}", "--target", "7", "-o", tmp_path / "out"]
    run("explain", file, *arguments)
    page, said = (tmp_path / "out" / "index.html").read_text(encoding="utf-8"), features(file)
    for name, heat in ((ENERGY, np.sqrt((said**2).sum(0))), (CHANNEL, np.abs(said[7]))):
        (saved,) = (tmp_path / "out").glob(f"*/{name.replace(':', '-')}.npz")
        assert np.allclose(np.load(saved)["map"], heat, atol=1e-4)
        assert name in page


def test_what_is_no_method_is_refused(scenes: BoxedSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NOT_A_METHOD' gives int, which does not say whether it needs a class"):
        make(f"{__name__}:NOT_A_METHOD", networks.gap())
    arguments = ["--data", f"csv:{scenes.pictures[0].file.parent}", "-m", "embedded/digits", "--workers", "0"]
    out = ["--methods", NEGATIVE, "-o", str(tmp_path / "run")]
    with pytest.raises(DataError, match=r"negative' gave a map with negative values or NaN"):
        CliRunner().invoke(app, ["evaluate", *arguments, *out], catch_exceptions=False)
