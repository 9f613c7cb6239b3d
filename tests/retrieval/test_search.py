"""Search against brute force in float64, in numpy."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2caf.errors import DataError
from l2caf.retrieval import Gallery, nearest, search
from l2caf.retrieval.search import Similarity

METRICS: tuple[Similarity, ...] = ("cosine", "euclidean")


def brute(queries: np.ndarray, gallery: np.ndarray, k: int, metric: str) -> np.ndarray:
    """Rows of the k nearest, one pair at a time, equal ones in order."""
    rows = []
    for q in queries.astype(np.float64):
        if metric == "cosine":
            far = [-float(sum(q * g) / (np.sqrt(sum(q * q)) * np.sqrt(sum(g * g)))) for g in gallery.astype(np.float64)]
        else:
            far = [float(np.sqrt(sum((q - g) ** 2))) for g in gallery.astype(np.float64)]
        rows.append(sorted(range(len(far)), key=lambda i: (round(far[i], 12), i))[:k])
    return np.array(rows)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, Similarity]:
    """Small whole numbers, so that ties abound; no zero rows."""
    d, g, q = draw(st.integers(1, 4)), draw(st.integers(1, 50)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    top = draw(st.sampled_from([1, 2, 1000]))
    values = random.integers(1, top + 1, (g + q, d)) * random.choice([-1, 1], (g + q, d))
    values = values.astype(np.float32)
    return values[:q], values[q:], draw(st.integers(1, g)), draw(st.sampled_from(METRICS))


@given(cases())
def test_neighbours_are_those_of_brute_force_and_ties_go_to_the_earlier_row(
    case: tuple[np.ndarray, np.ndarray, int, Similarity],
) -> None:
    queries, gallery, k, metric = case
    found = nearest(torch.from_numpy(queries), torch.from_numpy(gallery), k, metric)
    assert found.indices.tolist() == brute(queries, gallery, k, metric).tolist()
    assert found.scores.dtype == torch.float32


@pytest.mark.parametrize("metric", METRICS)
def test_where_nearly_everything_ties_the_earlier_rows_are_found(metric: Similarity) -> None:
    one = torch.randn(1, 16)
    gallery = one.repeat(5000, 1)
    gallery[77] *= -1
    found = nearest(torch.cat([one, -one]), gallery, 40, metric)
    assert found.indices[0].tolist() == list(range(40))
    assert found.indices[1].tolist() == [77, *range(39)]


@pytest.mark.parametrize("metric", METRICS)
def test_differences_below_single_precision_of_the_products_are_told_apart(metric: Similarity) -> None:
    gallery = torch.full((300, 4), 1000.0)
    gallery[:, 0] += torch.linspace(0, 0.3, 300).flip(0)  # last rows nearest, by 1e-6 of their norm
    found = nearest(torch.full((1, 4), 1000.0), gallery, 3, metric)
    assert found.indices.tolist() == [[299, 298, 297]]


@pytest.mark.parametrize("metric", METRICS)
def test_coarse_products_of_matrices_do_not_change_the_answer(
    monkeypatch: pytest.MonkeyPatch, metric: Similarity
) -> None:
    points = torch.randn(500, 64)
    points[1::2] = points[::2] + 1e-4 * torch.randn(250, 64)
    expected = nearest(points[:20], points, 5, metric)
    # Not every processor multiplies in bfloat16 when allowed to, so the products are made coarse here.
    gallery, coarse = Gallery(points, metric), Gallery(points.bfloat16().float(), metric)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    monkeypatch.setattr(gallery, "_rough", lambda queries: coarse._rough(queries.bfloat16().float()))
    monkeypatch.setattr(search, "SPARE", 0)
    assert torch.equal(gallery.nearest(points[:20], 5).indices, expected.indices)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("own", [False, True])
def test_many_queries_in_pieces_are_answered_like_one_by_one(
    monkeypatch: pytest.MonkeyPatch, metric: Similarity, *, own: bool
) -> None:
    points = torch.randn(200, 8)
    rows = torch.arange(200) if own else None
    gallery = Gallery(points, metric)
    whole = gallery.nearest(points, 7, own=rows)
    monkeypatch.setattr(search, "AT_ONCE", 1000)
    monkeypatch.setattr(search, "SPARE", 0)
    pieces = gallery.nearest(points, 7, own=rows)
    assert torch.equal(whole.indices, pieces.indices)
    assert torch.equal(whole.scores, pieces.scores)
    single = gallery.nearest(points[5:6], 7, own=None if rows is None else rows[5:6])
    assert torch.equal(single.indices[0], whole.indices[5])
    assert (whole.indices == torch.arange(200)[:, None]).any().item() is not own


@pytest.mark.parametrize("metric", METRICS)
def test_a_query_that_is_in_the_gallery_is_left_out_even_among_its_copies(metric: Similarity) -> None:
    gallery = torch.ones(60, 3)
    found = Gallery(gallery, metric).nearest(gallery[:2], 59, own=torch.tensor([0, 1]))
    assert found.indices[0].tolist() == list(range(1, 60))
    assert found.indices[1].tolist() == [0, *range(2, 60)]


def test_scores_are_similarities_or_distances_in_the_callers_precision() -> None:
    query, gallery = torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0], [-3.0, -4.0], [3.0, 4.0]])
    assert nearest(query, gallery, 3).scores.tolist() == [[1.0, 1.0, -1.0]]
    assert nearest(query, gallery, 3, "euclidean").scores.tolist() == [[0.0, 5.0, 10.0]]
    assert nearest(query.double(), gallery.double()).scores.dtype == torch.float64
    assert nearest(query.half(), gallery.half()).scores.dtype == torch.float32
    assert nearest(query[:0], gallery, 2).indices.shape == (0, 2)


@pytest.mark.parametrize("metric", METRICS)
def test_every_scale_that_single_precision_compares_is_compared(metric: Similarity) -> None:
    points = torch.randn(100, 8)
    expected = nearest(points[:5], points, 5, metric).indices
    for scale in (1e-15, 1e15):
        assert torch.equal(nearest(points[:5] * scale, points * scale, 5, metric).indices, expected)


@pytest.mark.parametrize(
    ("queries", "gallery", "k", "metric", "message"),
    [
        (torch.ones(1, 4), torch.ones(0, 4), 1, "cosine", r"the gallery is empty: \(0, 4\)"),
        (torch.ones(1, 4), torch.ones(2, 4), 3, "cosine", "k=3 is out of range; expected 1 to 2"),
        (torch.ones(1, 4), torch.ones(2, 4), 0, "cosine", "k=0 is out of range"),
        (torch.tensor([[1.0, torch.nan]]), torch.ones(2, 2), 1, "euclidean", "queries: 1 of 1 .* NaN.* first row 0"),
        (torch.ones(1, 1), torch.tensor([[1.0], [torch.inf]]), 1, "cosine", "gallery: 1 of 2 .* infinite.* row 1"),
        (torch.ones(1, 1), torch.tensor([[1.0], [1e30]]), 1, "cosine", "gallery: 1 of 2 .* huge, first row 1"),
        (torch.ones(1, 1), torch.tensor([[1.0], [0.0]]), 1, "cosine", "gallery: 1 of 2 embeddings are zero, .* row 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    queries: torch.Tensor, gallery: torch.Tensor, k: int, metric: Similarity, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        nearest(queries, gallery, k, metric)


def test_a_metric_that_is_neither_is_refused() -> None:
    with pytest.raises(DataError, match="unknown metric 'manhattan'"):
        search.similarity_named("manhattan")


def test_queries_of_other_dimensions_are_refused() -> None:
    with pytest.raises(DataError, match="queries of 3 dimensions do not fit a gallery of 4"):
        Gallery(torch.ones(2, 4)).nearest(torch.ones(1, 3))


def test_a_query_among_a_hundred_thousand_costs_little_more_than_the_product_of_matrices() -> None:
    points, query = torch.randn(100_000, 128), torch.randn(1, 128)
    gallery = Gallery(points)
    product = _fastest(lambda: (query @ points.T).topk(42))
    # 1.5 times on an idle machine; six, since others may use it: the 50 ms asked for are 25 times the product.
    assert _fastest(lambda: gallery.nearest(query, 10)) < max(6 * product, 0.05)


def _fastest(call: object) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)
