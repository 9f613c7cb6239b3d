"""What makes pictures similar, found through a network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from l2caf import L2CAF, Attention, Certificate, Similar
from l2caf.errors import DataError, SolverError, TargetError
from l2caf.models.retrieval import Embedder
from l2caf.retrieval import group, pair


def embedder(*, unit: bool = False, dimensions: int = 12) -> nn.Module:
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
    return networks.seeded(Embedder(trunk, 8, dimensions, normalize=unit))


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def filtered(model: nn.Module, x: Tensor, filters: Tensor) -> Tensor:
    """Embeddings under filters (r, 4, 4), by hand."""
    with torch.no_grad():
        return model.projection((model.trunk(x) * filters.unsqueeze(1)).mean((2, 3)))


def is_proven(attention: Attention) -> bool:
    return all(one is Certificate.GLOBAL for one in attention.certificate.flat)


@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_both_sides_of_every_pair_are_proven_and_not_beaten_by_random_filters(measure: str) -> None:
    model, queries, matches = embedder(), pictures(2), pictures(6, seed=1)
    with untouched(model):
        found = pair(L2CAF(model), queries, matches, measure=measure)  # type: ignore[arg-type]
    assert found.query.filter.shape == (2, 3, 4, 4)
    assert found.match.filter.shape == (6, 1, 4, 4)
    assert is_proven(found.query)
    assert is_proven(found.match)
    assert found.query.question.objective == f"Similar(partners=tensor (2, 3, 12), measure={measure!r})"
    with torch.no_grad():
        seen, known = model(queries), model(matches)
    alike = (lambda a, b: cosine_similarity(a, b, dim=-1)) if measure == "cosine" else (lambda a, b: (a * b).sum(-1))
    assert torch.allclose(found.similarity, alike(seen[:, None], known.unflatten(0, (2, 3))), atol=1e-5)
    offset = 1.0 if measure == "cosine" else 0.0
    random = normalize(torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)), dim=1).unflatten(1, (4, 4))
    for i in range(2):
        for j in range(3):
            x, partner = queries[i : i + 1].expand(2000, -1, -1, -1), known[3 * i + j]
            best = offset - alike(filtered(model, x, random), partner).amax()
            own = offset - alike(filtered(model, x[:1], found.query.filter[i, j][None]), partner)
            assert float(found.query.loss[i, j]) == pytest.approx(float(own), abs=1e-4)
            assert float(own) <= float(best)


def test_ascent_from_many_starts_ends_where_the_proof_says() -> None:
    model, x, partner = embedder(), pictures(1), pictures(1, seed=50)
    found = pair(L2CAF(model), x, partner).query.loss.item()
    with torch.no_grad():
        wanted, features = model(partner), model.trunk(x)
    starts = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimiser = torch.optim.Adam([starts], lr=0.05)
    for _ in range(300):
        filters = normalize(starts, dim=1).unflatten(1, (1, 4, 4))
        losses = 1 - cosine_similarity(model.projection((features * filters).mean((2, 3))), wanted)
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
    assert found == pytest.approx(losses.min().item(), abs=1e-5)


@settings(max_examples=5)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_the_cosine_minds_neither_the_length_of_the_partner_nor_the_batch(seed: int, scale: float) -> None:
    model, x = embedder(), pictures(2, seed)
    partners = torch.randn(2, 2, 12, generator=torch.Generator().manual_seed(seed))
    whole = L2CAF(model, objective=Similar(partners))(x)
    scaled = L2CAF(model, objective=Similar(scale * partners))(x)
    alone = L2CAF(model, objective=Similar(partners[1:]))(x[1:])
    assert torch.allclose(whole.loss, scaled.loss, atol=1e-6)
    assert torch.allclose(whole.loss[1:], alone.loss, atol=1e-6)
    assert torch.allclose(whole.filter[1:], alone.filter, atol=1e-3)


def test_a_picture_and_itself_are_the_class_oblivious_map_of_the_normalised_embedding() -> None:
    model, x = embedder(), pictures(3)
    both = pair(L2CAF(model), x, x)
    direct = L2CAF(model, objective=Similar())(x)
    assert torch.allclose(both.similarity, torch.ones(3, 1), atol=1e-6)
    assert torch.equal(both.query.filter, both.match.filter)
    assert torch.allclose(both.query.filter, direct.filter, atol=1e-6)
    searched = L2CAF(embedder(unit=True), solver="quasi-newton")(x)  # ||u - v||^2 = 2 - 2 u.v
    assert bool((2 * direct.loss <= searched.loss + 1e-5).all())
    assert torch.allclose(2 * direct.loss, searched.loss, atol=1e-3)


def test_sides_change_places_with_the_pictures() -> None:
    model, a, b = embedder(), pictures(2), pictures(2, seed=1)
    one, other = pair(L2CAF(model), a, b), pair(L2CAF(model), b, a)
    assert torch.allclose(one.query.filter, other.match.filter, atol=1e-5)
    assert torch.allclose(one.match.filter, other.query.filter, atol=1e-5)


def test_before_its_normalisation_a_normalised_embedding_is_proven_too() -> None:
    model, x = embedder(unit=True), pictures(3)
    raw, normal = group(L2CAF(model, until="projection"), x), group(L2CAF(model), x)
    assert is_proven(raw)
    assert not is_proven(normal)
    assert bool((raw.loss <= normal.loss + 1e-5).all())
    with pytest.raises(SolverError, match="no closed form"):
        group(L2CAF(model, solver="exact"), x)


def test_both_filters_together_are_more_alike_than_each_with_the_other_picture() -> None:
    model, a, b = embedder(), pictures(2), pictures(4, seed=1)
    apart, together = pair(L2CAF(model), a, b), pair(L2CAF(model), a, b, joint=True)
    assert together.query.filter.shape == (2, 2, 4, 4)
    assert bool((together.query.loss <= apart.query.loss + 1e-6).all())
    left = torch.cat([filtered(model, a[i : i + 1], together.query.filter[i]) for i in range(2)])
    right = filtered(model, b, together.match.filter[:, 0])
    assert torch.allclose(1 - cosine_similarity(left, right).double(), together.query.loss.flatten(), atol=1e-4)


def test_the_filter_of_a_group_is_the_best_for_all_pairs_at_once() -> None:
    model, x = embedder(), pictures(4)
    found = group(L2CAF(model), x)
    assert is_proven(found)
    with torch.no_grad():
        directions = normalize(model(x), dim=1)
    own = filtered(model, x[:1], found.filter[0])
    mean = float(cosine_similarity(own, directions[1:]).mean())
    random = normalize(torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)), dim=1).unflatten(1, (4, 4))
    others = normalize(filtered(model, x[:1].expand(2000, -1, -1, -1), random), dim=1) @ directions[1:].T
    assert mean >= float(others.mean(1).amax())


def test_of_two_objects_the_one_that_the_other_picture_shows_is_lit() -> None:
    class Colours(nn.Module):
        """Embeds how much there is of each colour."""

        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Identity()
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.trunk(x)).flatten(1)

    both, red = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    both[:, 0, 1:3, 1:3], both[:, 2, 5:7, 5:7], red[:, 0, 4:6, 1:3] = 1, 1, 1
    heat = pair(L2CAF(Colours(), "trunk"), both, red).query.heatmap()[0, 0]
    assert float(heat[1:3, 1:3].min()) > 0.9
    assert float(heat[5:7, 5:7].max()) < 0.1


def test_a_tail_that_is_not_affine_is_searched() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    found = pair(L2CAF(model), x[:1], x[1:2])
    assert not is_proven(found.query)
    assert bool((found.query.loss <= found.query.uniform_loss + 1e-6).all())


def test_what_cannot_be_compared_is_refused() -> None:
    model, x = embedder(), pictures(2)
    with pytest.raises(DataError, match="3 matches for 2 queries"):
        pair(L2CAF(model), x, pictures(3))
    with pytest.raises(DataError, match="group of one"):
        group(L2CAF(model), x[:1])
    for partners, message in ((torch.zeros(2, 1, 12), "zero, NaN"), (torch.ones(2, 1, 5), "do not fit")):
        with pytest.raises(TargetError, match=message):
            L2CAF(model, objective=Similar(partners))(x)
    with pytest.raises(TargetError, match="takes no target"):
        L2CAF(model, objective=Similar())(x, 1)


def test_a_saved_map_of_similarity_says_that_it_is_one(tmp_path: object) -> None:
    found = group(L2CAF(embedder()), pictures(2))
    loaded = Attention.load(found.save(f"{tmp_path}/saved"))
    assert loaded.question.objective.startswith("Similar(")
    assert "Similar(" in found._repr_html_()
    assert torch.equal(loaded.undecided, found.undecided)
