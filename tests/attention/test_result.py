from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support import networks

from l2caf import L2CAF, Attention, Certificate
from l2caf.attention import Evidence, Locality, Question
from l2caf.attention.following import Verdict
from l2caf.errors import DataError, StorageError


def attention_of(b: int, k: int, grid: tuple[int, ...], *, oblivious: bool, seed: int) -> Attention:
    generator = torch.Generator().manual_seed(seed)
    filters = torch.randn(b, k, *grid, generator=generator)
    labels = list(Certificate)
    return Attention(
        filter=filters / filters.flatten(2).norm(dim=2).view(b, k, *(1 for _ in grid)),
        loss=torch.rand(b, k, generator=generator).double(),
        uniform_loss=torch.rand(b, k, generator=generator).double(),
        target=None if oblivious else torch.randint(0, 9, (b, k), generator=generator),
        output=torch.randn(b, 9, generator=generator),
        question=Question(
            layer="features.<3>",
            layout="channels-first",
            objective="Oblivious(top=None)" if oblivious else "ClassSpecific(others='sum')",
            constraint="l2",
            input_size=tuple(16 * n for n in grid),
        ),
        evidence=Evidence(
            locality=Locality(0.98, 0.61, Verdict.FOLLOWS),
            certificate=np.array([[labels[(i + j) % len(labels)] for j in range(k)] for i in range(b)], dtype=object),
            residual=torch.rand(b, k, generator=generator).double(),
            undecided=torch.rand(b, k, generator=generator) < 0.5,
            iterations=torch.randint(0, 9, (b, k), generator=generator),
            solver="exact",
            unique=None if seed % 2 else torch.rand(b, k, generator=generator) < 0.5,
            start=np.array([["uniform"] * k] * b) if seed % 3 else None,
        ),
    )


def same(value: object, other: object) -> bool:
    if isinstance(value, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(value, other)
    if isinstance(value, np.ndarray):
        return isinstance(other, np.ndarray) and bool((value == other).all())
    return value == other


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 99),
)
def test_what_was_saved_is_what_is_loaded(b: int, k: int, grid: list[int], oblivious: bool, seed: int) -> None:  # noqa: FBT001
    attention = attention_of(b, k, tuple(grid), oblivious=oblivious, seed=seed)
    with TemporaryDirectory() as folder:
        loaded = Attention.load(attention.save(Path(folder) / "result"))
    for name in ("filter", "loss", "uniform_loss", "target", "output", "question", "inputs", "trace"):
        assert same(getattr(attention, name), getattr(loaded, name)), name
    for one in fields(Evidence):
        assert same(getattr(attention.evidence, one.name), getattr(loaded.evidence, one.name)), one.name
    heat = loaded.heatmap()
    assert heat.shape == (b, k, *attention.question.input_size)
    assert float(heat.min()) >= 0
    assert torch.allclose(heat.flatten(2).amax(2), torch.ones(b, k))


def test_a_missing_damaged_or_foreign_result_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no complete result"):
        Attention.load(tmp_path)
    folder = attention_of(1, 1, (3, 3), oblivious=True, seed=0).save(tmp_path / "a")
    with pytest.raises(StorageError, match="already holds"):
        attention_of(1, 1, (3, 3), oblivious=True, seed=1).save(folder)
    (folder / "attention.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(StorageError, match="cannot be read"):
        Attention.load(folder)
    (folder / "manifest.json").write_text('{"format": "other/1"}', encoding="utf-8")
    with pytest.raises(StorageError, match="'other/1'"):
        Attention.load(folder)


def test_the_heatmap_is_the_magnitude_resized_bilinearly_and_minmax_reaches_both_ends() -> None:
    attention = attention_of(2, 2, (5, 7), oblivious=False, seed=3)
    resized = torch.nn.functional.interpolate(attention.filter.abs(), (20, 30), mode="bilinear", align_corners=False)
    assert torch.allclose(attention.heatmap((20, 30)), resized / resized.amax((2, 3), keepdim=True), atol=1e-6)
    minmax = attention.heatmap((20, 30), normalize="minmax")
    assert torch.allclose(minmax.amin((2, 3)), torch.zeros(2, 2), atol=1e-6)
    assert torch.allclose(minmax.amax((2, 3)), torch.ones(2, 2))


def test_the_negative_share_is_that_of_the_squared_norm() -> None:
    attention = attention_of(1, 1, (2, 2), oblivious=True, seed=0)
    attention = replace(attention, filter=torch.tensor([[[[0.5, -0.5], [0.5, 0.5]]]]))
    assert float(attention.negative_share) == pytest.approx(0.25)


def test_overlays_fit_the_pictures_and_need_one_for_each_input() -> None:
    attention = L2CAF(networks.gap())(networks.pictures(), "top2")
    assert attention.overlay().shape == (3, 2, 16, 16, 3)
    assert attention.overlay(torch.rand(3, 3, 40, 24)).shape == (3, 2, 40, 24, 3)
    assert attention.overlay().dtype == np.uint8
    for wrong in (torch.rand(2, 3, 8, 8), None):
        with pytest.raises(DataError, match="one picture for each of 3"):
            replace(attention, inputs=None).overlay(wrong)


def test_a_notebook_shows_a_map_for_every_input_and_target_with_loss_and_certificate() -> None:
    page = L2CAF(networks.gap())(networks.pictures(), "top2")._repr_html_()
    assert page.count("<img") == 6
    assert page.count("global") == 12  # caption and alternative text
    assert "<pre>" in attention_of(1, 1, (2, 2, 2), oblivious=True, seed=1)._repr_html_()


def test_the_repr_is_one_line_without_tensors() -> None:
    attention = L2CAF(networks.gap())(networks.pictures(), "top2")
    assert repr(attention) == (
        "Attention(3 inputs x 2 maps on 8x8 of '0': ClassSpecific(others='sum'), l2; exact: 6 global; "
        "follows 1.00 (chance 0.66))"
    )
