import pytest
import torch

from l2caf.attention.targets import resolve_targets
from l2caf.errors import TargetError

OUTPUT = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (2, [[2], [2]]),
        ([2, 0], [[2, 0], [2, 0]]),
        ((1,), [[1], [1]]),
        (torch.tensor(1), [[1], [1]]),
        (torch.tensor([0, 2], dtype=torch.int32), [[0], [2]]),
        (torch.tensor([[0, 1], [1, 2]]), [[0, 1], [1, 2]]),
        ("top2", [[1, 2], [0, 2]]),
        (" Top1 ", [[1], [0]]),
    ],
)
def test_every_form_of_target_becomes_a_row_of_classes_per_input(target: object, expected: list[list[int]]) -> None:
    classes = resolve_targets(target, OUTPUT)  # type: ignore[arg-type]
    assert classes is not None
    assert classes.dtype == torch.long
    assert classes.tolist() == expected


def test_no_target_means_class_oblivious() -> None:
    assert resolve_targets(None, OUTPUT) is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "class 3 does not exist; the network has 3, so expected 0 to 2"),
        ("top4", "asks for 4 classes"),
        ("top0", "not understood"),
        (True, "not understood"),
        (torch.zeros(2, 2, 1, dtype=torch.long), r"shape \(2, 2, 1\) does not fit 2 inputs"),
        (torch.tensor([True, False]), "expected an integer dtype"),
    ],
)
def test_what_is_no_class_is_refused_with_what_was_expected(target: object, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve_targets(target, OUTPUT)  # type: ignore[arg-type]
