"""Recall and NMI against pytorch-metric-learning, against counting, and by hand."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from l2caf.errors import DataError
from l2caf.retrieval import clusters, is_collapsed, nmi, normalised_information, recall_at
from l2caf.retrieval.metrics import _check, has_company
from l2caf.retrieval.search import Similarity

LIBRARY = {"cosine": CosineSimilarity(), "euclidean": LpDistance(normalize_embeddings=False)}


def blobs(n_classes: int = 8, each: int = 12, noise: float = 1.5) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(n_classes).repeat_interleave(each)
    return torch.randn(n_classes, 16)[labels] + noise * torch.randn(len(labels), 16), labels


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("lone", [0, 3])
def test_recall_at_1_is_pytorch_metric_learnings_precision_at_1(metric: Similarity, lone: int) -> None:
    embeddings, labels = blobs()
    labels[:lone] = torch.arange(100, 100 + lone)  # classes of one picture
    calculator = AccuracyCalculator(
        include=("precision_at_1",), k=1, device=torch.device("cpu"), knn_func=CustomKNN(LIBRARY[metric])
    )
    theirs = calculator.get_accuracy(embeddings, labels, ref_includes_query=True)["precision_at_1"]
    ours = recall_at(embeddings, labels, metric=metric)[1]
    assert 0.3 < ours < 0.95
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_arithmetic_nmi_of_the_same_clusters_is_pytorch_metric_learnings() -> None:
    embeddings, labels = blobs()
    assignment = clusters(embeddings, 8)
    calculator = AccuracyCalculator(
        include=("NMI",), device=torch.device("cpu"), knn_func=CustomKNN(CosineSimilarity()),
        kmeans_func=lambda _points, _count: assignment,
    )  # fmt: skip
    theirs = calculator.get_accuracy(embeddings, labels)["NMI"]
    assert nmi(embeddings, labels, average="arithmetic") == pytest.approx(theirs, abs=1e-12)
    assert 0.1 < theirs < 0.99


groupings = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 4), min_size=n, max_size=n) for _ in range(2)))
)


@given(groupings)
def test_nmi_is_the_papers_formula(pair: tuple[list[int], list[int]]) -> None:
    first, second = pair
    n = len(first)

    def entropy(groups: list[object]) -> float:
        return -sum(c / n * math.log(c / n) for c in Counter(groups).values())

    own, other = entropy(list(first)), entropy(list(second))
    shared = own + other - entropy(list(zip(first, second, strict=True)))
    a, b = torch.tensor(first), torch.tensor(second)
    if own > 0 and other > 0:
        assert normalised_information(a, b) == pytest.approx(shared / math.sqrt(own * other), abs=1e-9)
        assert normalised_information(a, b, "arithmetic") == pytest.approx(2 * shared / (own + other), abs=1e-9)
        assert normalised_information(a, b) >= normalised_information(a, b, "arithmetic") - 1e-12


@given(st.integers(0, 2**31), st.sampled_from(["cosine", "euclidean"]))
def test_recall_is_what_counting_gives(seed: int, metric: Similarity) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(6, 30))
    points, labels = random.standard_normal((n, 3)), random.integers(0, 4, n)
    length = np.linalg.norm(points, axis=1, keepdims=True) if metric == "cosine" else 1
    hits = {1: [], 3: []}
    for i in range(n):
        if (labels == labels[i]).sum() > 1:
            order = np.argsort(np.linalg.norm(points / length - (points / length)[i], axis=1))
            others = [j for j in order if j != i]
            for k, verdicts in hits.items():
                verdicts.append(any(labels[j] == labels[i] for j in others[:k]))
    found = recall_at(torch.from_numpy(points), torch.from_numpy(labels), ks=(1, 3), metric=metric)
    assert found == {k: pytest.approx(np.mean(verdicts)) for k, verdicts in hits.items()}


def test_recall_by_hand() -> None:
    line = torch.tensor([[0.0], [1.0], [2.1], [9.0], [10.5]])
    labels = torch.tensor([0, 1, 0, 2, 1])
    # 0: nearest 1 (no), then 2 (yes). 1: 0, 2, 3 (no), 4. 2: 1 (no), 0 (yes). 3 is alone. 4: 3, 2 (no), then 1.
    assert recall_at(line, labels, ks=(1, 2, 3, 4), metric="euclidean") == {1: 0, 2: 0.5, 3: 0.75, 4: 1}
    assert has_company(labels).tolist() == [True, True, True, False, True]


def test_perfect_embeddings_score_one_and_shuffled_labels_little() -> None:
    embeddings, labels = blobs(noise=0.01)
    assert set(recall_at(embeddings, labels).values()) == {1.0}
    assert nmi(embeddings, labels) == pytest.approx(1)
    shuffled = labels[torch.randperm(len(labels))]
    assert recall_at(embeddings, shuffled)[1] < 0.35
    assert nmi(embeddings, shuffled) < 0.6


def test_clusters_are_the_same_for_the_same_seed() -> None:
    embeddings, _ = blobs(noise=3)
    assert torch.equal(clusters(embeddings, 8, seed=3, restarts=1), clusters(embeddings, 8, seed=3, restarts=1))
    assert clusters(embeddings.bfloat16(), 8).dtype == torch.long


def test_what_has_no_figure_is_refused() -> None:
    embeddings, labels = torch.randn(6, 2), torch.tensor([0, 0, 1, 1, 2, 2])
    with pytest.raises(DataError, match="network has collapsed"):
        recall_at(torch.ones(6, 2), labels)
    with pytest.raises(DataError, match="network has collapsed"):
        nmi(torch.ones(6, 2), labels)
    with pytest.raises(DataError, match="network has collapsed"):
        recall_at(torch.ones(6, 2) + 1e-6 * torch.rand(6, 2), labels)
    assert not is_collapsed(torch.ones(6, 2) + 1e-3 * torch.rand(6, 2))
    with pytest.raises(DataError, match="NaN"):
        nmi(embeddings / 0, labels)
    with pytest.raises(DataError, match="6 embeddings and 5 labels"):
        _check(embeddings, labels[:5])
    with pytest.raises(DataError, match="none of 6 pictures has another of its class"):
        recall_at(embeddings, torch.arange(6))
    with pytest.raises(DataError, match="k=8 is out of range; expected 1 to 5"):
        recall_at(embeddings, labels)
    with pytest.raises(DataError, match=r"ks=\(0,\)"):
        recall_at(embeddings, labels, ks=(0,))
    with pytest.raises(DataError, match="only 2 of 6 embeddings differ; 3 clusters"):
        nmi(embeddings[[0, 0, 0, 1, 1, 1]], labels)
