"""Faithfulness against definitions written out, and on a network whose answer is known."""

import pytest
import torch
from torch import Tensor

from l2caf.errors import DataError
from l2caf.evaluation.faithfulness import Faithfulness, area, curve


def left_half(images: Tensor) -> Tensor:
    """Logits (b, 2): the first says how bright the left half is."""
    bright = images[..., : images.shape[3] // 2].mean((1, 2, 3))
    return torch.stack([4 * bright, torch.zeros_like(bright)], dim=1)


IMAGE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
LEFT = torch.zeros(8, 8)
LEFT[:, :4] = torch.linspace(1, 0.5, 32).view(8, 4)


def test_a_deletion_curve_is_pixels_removed_one_step_at_a_time() -> None:
    found = curve(left_half, IMAGE, LEFT, 0, step=5)
    order = sorted(range(64), key=lambda place: (-float(LEFT.flatten()[place]), place))
    for number, count in enumerate([*range(0, 64, 5), 64]):
        changed = IMAGE.clone()
        for place in order[:count]:
            changed[:, place // 8, place % 8] = 0
        assert float(found[number]) == pytest.approx(float(left_half(changed[None]).softmax(1)[0, 0]), abs=1e-6)


def test_an_insertion_curve_ends_at_the_picture() -> None:
    found = curve(left_half, IMAGE, LEFT, 0, kind="insertion")
    assert len(found) == 9
    assert float(found[-1]) == pytest.approx(float(left_half(IMAGE[None]).softmax(1)[0, 0]), abs=1e-6)


def test_the_right_map_is_told_from_the_wrong_one() -> None:
    figures = []
    for heat in (LEFT, LEFT.flip(1)):
        metric = Faithfulness(left_half)
        metric.update(IMAGE, heat, 0)
        figures.append(metric.compute())
    right, wrong = figures
    assert right["deletion"] < wrong["deletion"]
    assert right["drop"] < wrong["drop"]
    assert wrong["drop"] == pytest.approx(1 - 0.5 / float(left_half(IMAGE[None]).softmax(1)[0, 0]), abs=1e-6)


def test_areas_are_trapezoids() -> None:
    assert area(torch.tensor([1.0, 0.0])) == 0.5
    values = torch.rand(7)
    assert area(values) == pytest.approx(float(torch.trapezoid(values, torch.linspace(0, 1, 7))))


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="does not fit"):
        curve(left_half, IMAGE, torch.zeros(7, 7), 0)


def test_a_class_whose_probability_rounds_to_zero_loses_nothing() -> None:
    metric = Faithfulness(lambda pictures: torch.tensor([[200.0, -200.0]]).repeat(len(pictures), 1))
    metric.update(torch.rand(3, 8, 8), torch.rand(8, 8), 1)
    assert metric.compute() == {"deletion": 0.0, "insertion": 0.0, "drop": 0.0, "increase": 0.0}
