"""Metrics against hand-worked cases, brute force, and published definitions."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from sklearn.metrics import average_precision_score

from l2caf.errors import DataError
from l2caf.evaluation.metrics import (
    EnergyPointingGame,
    LocalizationAccuracy,
    MaxBoxAcc,
    PointingGame,
    PxAP,
    energy_inside,
)

TRUTH = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 40.0]])
GOOD, OTHER, BAD = [1.0, 0.0, 10.0, 10.0], [20.0, 21.0, 30.0, 40.0], [0.0, 0.0, 10.0, 4.0]


@pytest.mark.parametrize(
    ("guesses", "boxes", "classes", "right"),
    [
        (1, [GOOD, BAD], [3, 3], True),
        (1, [OTHER], [3], True),  # any of several annotated boxes will do
        (1, [BAD, GOOD], [3, 3], False),  # only the first guess counts
        (5, [BAD, GOOD], [3, 3], True),
        (5, [GOOD, BAD], [7, 3], False),  # the right box for the wrong class
        (1, [GOOD], [7], False),
        (None, [GOOD], [7], True),  # classification ignored
        (None, [], [], False),
    ],
)
def test_a_guess_needs_the_right_class_and_half_of_any_box(
    guesses: int | None, boxes: list[list[float]], classes: list[int], *, right: bool
) -> None:
    metric = LocalizationAccuracy(guesses)
    metric.update(np.array(boxes).reshape(-1, 4), np.array(classes, dtype=np.int64), TRUTH, 3)
    assert bool(metric.compute() == 1) is right


def test_accuracy_adds_up_over_parts_and_resets() -> None:
    whole, first, second = LocalizationAccuracy(), LocalizationAccuracy(), LocalizationAccuracy()
    for number in range(7):
        for metric in (whole, first if number < 3 else second):
            metric.update(np.array([GOOD if number % 2 else BAD]), np.array([3]), TRUTH, 3)
    first.right += second.right
    first.total += second.total
    assert first.compute() == whole.compute() == pytest.approx(3 / 7)
    whole.reset()
    whole.update(np.array([GOOD]), np.array([3]), TRUTH, 3)
    assert whole.compute() == 1
    with pytest.raises(DataError, match="without annotated boxes"):
        whole.update(np.array([GOOD]), np.array([3]), np.zeros((0, 4)), 3)


def contour_boxes(score: np.ndarray, tau: float, *, largest: bool) -> list[tuple[int, int, int, int]]:
    """wsolevaluation's boxes at one threshold, as its description says, straight through OpenCV."""
    grey = (score * 255).astype(np.uint8)
    _, mask = cv2.threshold(grey, int(tau * grey.max()), 255, cv2.THRESH_BINARY)
    contours = list(cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0])
    if not contours:
        return [(0, 0, 0, 0)]
    if largest:
        contours = [max(contours, key=cv2.contourArea)]
    height, width = score.shape
    found = [cv2.boundingRect(contour) for contour in contours]
    return [(x, y, min(x + w, width - 1), min(y + h, height - 1)) for x, y, w, h in found]


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Corners as pixels."""
    pixels = [
        {(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)}
        for x0, y0, x1, y1 in (map(int, c) for c in (a, b))
    ]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


@settings(max_examples=5)
@given(st.integers(0, 1000), st.booleans())
def test_max_box_accuracy_is_the_best_over_thresholds_of_the_whole_set(seed: int, largest: bool) -> None:  # noqa: FBT001
    generator = np.random.default_rng(seed)
    scores = [cv2.resize(generator.random((4, 4)), (24, 24)).clip(0, 1) for _ in range(4)]
    truths = [(3, 3, 15, 18), (0, 5, 20, 12), (10, 10, 22, 22), (2, 2, 8, 20)]
    deltas = (0.5,) if largest else (0.3, 0.5, 0.7)
    metric = MaxBoxAcc("largest" if largest else "all", deltas, interval=0.1)
    for score, truth in zip(scores, truths, strict=True):
        metric.update(score, np.array([truth], dtype=float))
    best = []
    for delta in deltas:
        shares = []
        for tau in np.arange(0, 1, 0.1):
            hits = [
                max(overlap(box, truth) for box in contour_boxes(score, tau, largest=largest)) >= delta
                for score, truth in zip(scores, truths, strict=True)
            ]
            shares.append(np.mean(hits))
        best.append(max(shares))
    assert float(metric.compute()) == pytest.approx(np.mean(best))


@given(st_np.arrays(np.float64, (6, 6), elements=st.floats(0, 1)), st.integers(0, 1000))
def test_pixel_average_precision_is_that_of_scikit_learn_on_binned_scores(score: np.ndarray, seed: int) -> None:
    mask = np.random.default_rng(seed).random((6, 6)) < 0.4
    mask[0, 0], mask[-1, -1] = True, False
    metric = PxAP(interval=0.1)
    metric.update(score, mask)
    binned = np.digitize(score, metric.edges)  # what falls into one bin is predicted together
    # theirs leaves the highest bin out of the sum; nothing falls into it
    assert float(metric.compute()) == pytest.approx(average_precision_score(mask.ravel(), binned.ravel()), abs=1e-9)


def test_ignored_pixels_count_only_where_they_are_the_objects() -> None:
    score = np.array([[0.9, 0.8], [0.1, 0.7]])
    mask = np.array([[True, False], [False, False]])
    plain, ignoring = PxAP(), PxAP()
    plain.update(score, mask)
    ignoring.update(score, mask, np.array([[True, True], [False, True]]))
    assert float(ignoring.negative.sum()) == 1
    assert float(ignoring.positive.sum()) == float(plain.positive.sum()) == 1


@pytest.mark.parametrize(("x", "hit"), [(20, True), (29, True), (43, True), (44, False), (5, False), (6, True)])
def test_pointing_counts_within_fifteen_pixels_of_the_object(x: int, *, hit: bool) -> None:
    heat = np.zeros((50, 60))
    heat[25, x] = 1.0
    metric = PointingGame(4)
    metric.update(heat, np.array([[20.0, 20, 30, 30]]), 2)
    assert bool(metric.compute() == 1) is hit


def test_pointing_is_the_mean_over_classes_that_occur() -> None:
    metric = PointingGame(5)
    hit, miss = np.zeros((40, 40)), np.zeros((40, 40))
    hit[5, 5], miss[39, 39] = 1.0, 1.0
    for heat, label in ((hit, 0), (hit, 0), (hit, 0), (miss, 1)):
        metric.update(heat, np.array([[0.0, 0, 10, 10]]), label)
    assert metric.compute() == 0.5


def test_energy_is_the_share_of_the_sum_inside() -> None:
    heat = np.arange(12.0).reshape(3, 4)
    assert energy_inside(heat, np.array([[1.0, 1, 3, 3], [2.0, 1, 4, 2]])) == pytest.approx((5 + 6 + 7 + 9 + 10) / 66)
    assert energy_inside(np.zeros((3, 4)), TRUTH) == 0
    with pytest.raises(DataError, match="non-negative"):
        energy_inside(-heat, TRUTH)
    metric = EnergyPointingGame()
    metric.update(heat, np.array([[0.0, 0, 4, 3]]))
    metric.update(heat, np.array([[0.0, 0, 1, 1]]))
    assert metric.compute() == pytest.approx(0.5)


@pytest.mark.parametrize("score", [np.full((3, 3), 1.2), np.full((3, 3), -0.1), np.full((3, 3), np.inf)])
def test_maps_out_of_range_are_refused(score: np.ndarray) -> None:
    with pytest.raises(DataError):
        MaxBoxAcc().update(score, TRUTH)


def test_metrics_survive_a_state_dict() -> None:
    metric = LocalizationAccuracy()
    metric.persistent(mode=True)
    metric.update(np.array([GOOD]), np.array([3]), TRUTH, 3)
    copy = LocalizationAccuracy()
    copy.persistent(mode=True)
    copy.load_state_dict(metric.state_dict())
    assert (copy.right, copy.total) == (metric.right, metric.total) == (torch.tensor(1), torch.tensor(1))
