"""Against what the published PyTorch implementation computed for MobileNetV2 on real pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from l2caf import L2CAF, Descent
from l2caf.models import ModelCard, load

pytestmark = pytest.mark.data
PICTURES = ("dog_butterfly", "dog_ball", "bike_dog", "ILSVRC2012_val_00000021")


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> dict[str, Tensor]:
    with np.load(shared_data / "reference_filters.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]).float() for name in arrays}


@pytest.fixture(scope="module")
def head(shared_data: Path) -> nn.Module:
    """The network from its last feature map on: the published filters come with that map."""
    weights = shared_data / "weights" / "mobilenetv2_100_tf_imagenet.safetensors"
    loaded = load("timm/mobilenetv2_100", weights=weights, card=ModelCard(arguments={"pad_type": "same"}))
    return nn.Sequential(nn.Identity(), loaded.model.global_pool, loaded.model.classifier)  # type: ignore[arg-type]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


@pytest.mark.parametrize("picture", PICTURES)
def test_class_specific_filters_are_the_published_ones(
    picture: str, reference: dict[str, Tensor], head: nn.Module
) -> None:
    names = [name for name in reference if name.startswith(f"{picture}/specific_sgd_")]
    assert names
    for name in names:
        attention = L2CAF(head, "0")(reference[f"{picture}/A"][None], int(name.rpartition("_")[2]))
        assert cosine(attention.filter, reference[name]) >= 0.9999


@pytest.mark.parametrize("picture", PICTURES)
def test_class_oblivious_losses_are_at_most_the_published_ones_and_descent_gets_there_in_time(
    picture: str, reference: dict[str, Tensor], head: nn.Module
) -> None:
    features, nt = reference[f"{picture}/A"][None], reference[f"{picture}/NT"]
    published = reference[f"{picture}/oblivious_sgd"]
    published = published / published.norm()
    with torch.no_grad():
        theirs = float((nt - head(features * published)[0]).double().square().sum())
    exact = L2CAF(head, "0")(features)
    assert exact.evidence.solver == "exact"
    assert float(exact.loss) <= theirs * (1 + 1e-6)
    descent = L2CAF(head, "0", solver=Descent(max_iterations=3000, epsilon=0.0))(features)
    assert cosine(descent.filter, exact.filter) >= 0.9999
