import pytest
import torch

from l2caf.errors import TargetError
from l2caf.goals import LinearGoal
from l2caf.objectives import ClassSpecific, CosineGoal, Oblivious, Similar

REFERENCE = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.0, 4.0, -1.0, 2.0]])


def test_the_class_oblivious_loss_is_the_squared_distance_to_the_networks_output() -> None:
    goal, rows = Oblivious().goal(REFERENCE, None), torch.arange(2)
    away = REFERENCE + torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    assert goal.loss(REFERENCE, rows).tolist() == [0.0, 0.0]
    assert goal.loss(away, rows).tolist() == [25.0, 4.0]


def test_only_the_largest_components_count_where_so_many_are_to_be_kept() -> None:
    goal = Oblivious(top=2).goal(REFERENCE, None)
    away = REFERENCE + torch.tensor([[1.0, 10.0, 2.0, 10.0], [10.0, 1.0, 10.0, 3.0]])
    assert goal.loss(away, torch.arange(2)).tolist() == [5.0, 10.0]
    assert Oblivious(top=4).goal(REFERENCE, None).kept is None


@pytest.mark.parametrize(("others", "share"), [("sum", 1.0), ("mean", 1 / 3)])
def test_the_class_specific_loss_is_equation_2(others: str, share: float) -> None:
    goal = ClassSpecific(others).goal(REFERENCE, torch.tensor([[2, 0], [1, 3]]))  # type: ignore[arg-type]
    outputs = REFERENCE.repeat_interleave(2, dim=0)
    by_hand = [share * (total - own) - own for total, own in ((2.5, 3.0), (2.5, 1.0), (5.0, 4.0), (5.0, 2.0))]
    assert goal.loss(outputs, torch.arange(4)).tolist() == pytest.approx(by_hand)
    assert goal.per_input(2) == 2


def test_similarity_is_one_less_the_cosine_or_minus_the_product() -> None:
    partners = torch.tensor([[[0.0, 0.0, 2.0, 0.0]], [[0.0, -3.0, 0.0, 0.0]]])
    cosine, dot = (Similar(partners, measure).goal(REFERENCE, None) for measure in ("cosine", "dot"))
    assert isinstance(cosine, CosineGoal)
    assert isinstance(dot, LinearGoal)
    norms = REFERENCE.norm(dim=1)
    assert cosine.loss(REFERENCE, torch.arange(2)).tolist() == pytest.approx(
        [1 - 3 / float(norms[0]), 1 + 4 / float(norms[1])]
    )
    assert dot.loss(REFERENCE, torch.arange(2)).tolist() == [-6.0, 12.0]


def test_targets_partners_and_options_that_make_no_sense_are_refused() -> None:
    some = torch.zeros(2, 1, dtype=torch.long)
    for objective, targets, message in (
        (Oblivious(), some, "takes no target"),
        (Similar(), some, "takes no target"),
        (ClassSpecific(), None, "needs a target"),
        (Similar(torch.ones(2, 1, 3)), None, r"partners of shape \(2, 1, 3\) do not fit"),
        (Similar(torch.zeros(2, 1, 4)), None, "is zero, NaN or infinite"),
    ):
        with pytest.raises(TargetError, match=message):
            objective.goal(REFERENCE, targets)
    with pytest.raises(TargetError, match="at least two classes"):
        ClassSpecific().goal(REFERENCE[:, :1], some)
    with pytest.raises(TargetError, match="top=0 keeps nothing"):
        Oblivious(0)
