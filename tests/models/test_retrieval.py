"""Embedding networks: the trunk is that of the classifier, the tail is linear, weights come back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.untouched import untouched
from torch import nn

from l2caf import L2CAF
from l2caf.errors import ModelError, WeightsError
from l2caf.models import Embedder, ModelCard, load, names
from l2caf.models.resolve import resolve
from l2caf.models.retrieval import embedder_on
from l2caf.solvers import Certificate

SMALL = ("digits", "torchvision/resnet18", "timm/test_resnet")


def embedder(name: str, *, pretrained: bool = False, **arguments: object) -> Embedder:
    model = load(f"retrieval/{name}", card=ModelCard(arguments=arguments), pretrained=pretrained).model
    assert isinstance(model, Embedder)
    return model


def pictures(n: int = 2, side: int = 96) -> torch.Tensor:
    return torch.randn(n, 3, side, side)


@pytest.mark.parametrize(
    ("name", "head"),
    [("digits", "classifier"), ("torchvision/resnet18", "fc"), ("torchvision/googlenet", "fc"),
     ("timm/test_resnet", "fc"), ("timm/mobilenetv2_050", "classifier")],
)  # fmt: skip
def test_the_trunk_is_all_of_the_classifier_before_its_pooling(name: str, head: str) -> None:
    classifier: Any = load(name, pretrained=False).model
    model, x = embedder(name), pictures()
    with torch.no_grad():
        pooled = model.trunk(x).mean((2, 3))
        logits = getattr(classifier, head)(pooled)
        torch.testing.assert_close(logits, classifier(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(x), model.projection(pooled), rtol=1e-4, atol=1e-5)
    assert model(x).shape == (2, 128)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("timm/test_vit", "tokens 10x10, 1 prefix"), ("timm/test_mambaout", "channels-last"),
     ("timm/deit_tiny_distilled_patch16_224", "tokens 14x14, 2 prefix"),
     ("torchvision/squeezenet1_1", "channels-first"), ("torchvision/shufflenet_v2_x0_5", "channels-first")],
)  # fmt: skip
def test_trunks_of_other_kinds(name: str, layout: str) -> None:
    loaded = load(f"retrieval/{name}", card=ModelCard(arguments={"dimensions": 5}), pretrained=False)
    x = torch.randn(1, 3, *(loaded.card.size or ()))
    assert loaded.model(x).shape == (1, 5)
    assert loaded.model.layout.name == layout  # type: ignore[union-attr]
    assert loaded.card.labels is None


def test_an_auxiliary_classifier_is_left_behind_and_the_trunk_trains() -> None:
    model = embedder("torchvision/googlenet", dimensions=4)
    assert not [name for name, _ in model.named_parameters() if "aux" in name or ".fc" in name]
    model.train()
    model(pictures()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_normalised_embeddings_are_the_raw_ones_over_their_norm() -> None:
    x = pictures()
    raw, unit = (embedder("digits", pretrained=True, normalize=flag)(x) for flag in (False, True))
    torch.testing.assert_close(unit, raw / raw.norm(dim=1, keepdim=True))
    assert not torch.allclose(raw.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("name", SMALL)
def test_the_map_of_the_raw_embedding_is_proven_and_of_the_normalised_one_stationary(name: str) -> None:
    x = pictures()
    raw, unit = embedder(name, pretrained=name == "digits"), embedder(name, pretrained=name == "digits", normalize=True)
    with untouched(raw):
        attention = L2CAF(raw)(x)
    assert (attention.question.layer, attention.evidence.solver) == ("trunk", "exact")
    assert set(attention.certificate.flat) == {Certificate.GLOBAL}
    searched = L2CAF(unit)(x)
    assert set(searched.certificate.flat) == {Certificate.STATIONARY}
    assert (searched.loss < searched.uniform_loss).all()


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_back_with_their_dimensions(tmp_path: Path, name: str) -> None:
    model = embedder(name, dimensions=7)
    nn.init.normal_(model.projection.weight)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    again = load(f"retrieval/{name}", weights=tmp_path / "w.pth")
    x = pictures()
    torch.testing.assert_close(again.model(x), model(x))
    assert load(again.name, weights=tmp_path / "w.pth").name == again.name
    with pytest.raises(WeightsError, match=r"such as 'projection\.weight'"):
        load(again.name, weights=tmp_path / "w.pth", card=ModelCard(arguments={"dimensions": 9}))


@pytest.mark.parametrize("name", SMALL)
def test_a_classifiers_weights_make_the_trunk_and_the_projection_is_the_same_every_time(
    tmp_path: Path, name: str
) -> None:
    classifier = load(name, pretrained=False).model
    nn.init.constant_(next(classifier.parameters()), 0.01)
    torch.save(classifier.state_dict(), tmp_path / "w.pth")
    first, second = (load(f"retrieval/{name}", weights=tmp_path / "w.pth").model for _ in range(2))
    assert torch.equal(next(first.parameters()), next(classifier.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_names() -> None:
    assert resolve("retrieval/resnet50") == ("retrieval", "torchvision/resnet50")
    assert resolve("retrieval/timm/resnet50.a1_in1k") == ("retrieval", "timm/resnet50.a1_in1k")
    assert {"retrieval/resnet50", "retrieval/googlenet", "retrieval/digits"} <= set(names())
    with pytest.raises(ModelError, match="did you mean 'resnet50'"):
        resolve("retrieval/resnet5O")
    with pytest.raises(ModelError, match="expected one 'retrieval/'"):
        resolve("retrieval/retrieval/resnet50")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"dimensions": 0}, "dimensions=0 is out of range"), ({"dimensions": "many"}, "dimensions='many'.*expected int"),
     ({"normalize": 1}, "normalize=1.*expected bool"), ({"depth": 3}, "takes no arguments; got depth")],
)  # fmt: skip
def test_arguments_that_make_no_embedding_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        embedder("digits", **arguments)


class NoGrid(nn.Module):
    """Flattens at once."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.flatten(1))


def test_a_classifier_without_a_grid_is_refused() -> None:
    with pytest.raises(ModelError, match="NoGrid has no grid of features before its head"):
        embedder_on(NoGrid(), (4, 4))


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match="Branching cannot be taken apart: symbolically traced"):
        embedder_on(Branching(), (8, 8))
