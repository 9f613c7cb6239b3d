"""Boxes of maps, overlaps, and where the network's input lies in the picture."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from l2caf.errors import DataError
from l2caf.evaluation import PROTOCOLS, InputFrame, boxes, iou

HEATS = st_np.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1))


def flooded(mask: np.ndarray) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Size and tight box of every 8-connected region, by filling them one pixel at a time."""
    left, found = {tuple(place) for place in np.argwhere(mask)}, []
    while left:
        todo, region = deque([min(left)]), []
        left.discard(todo[0])
        while todo:
            y, x = todo.popleft()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo.extend(near)
        ys, xs = zip(*region, strict=True)
        found.append((len(region), (min(xs), min(ys), max(xs) + 1, max(ys) + 1)))
    return found


@given(HEATS, st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_regions_are_those_that_filling_finds(heat: np.ndarray, threshold: float) -> None:
    expected = flooded(heat > threshold * heat.max()) if heat.max() > 0 else []
    found = boxes(heat, threshold, which="all")
    assert sorted(map(tuple, found.astype(int).tolist())) == sorted(box for _, box in expected)
    largest = boxes(heat, threshold)
    assert len(largest) == min(1, len(expected))
    if expected:
        top = max(size for size, _ in expected)
        assert tuple(largest[0].astype(int)) in [box for size, box in expected if size == top]


@given(HEATS, st.floats(0.1, 100))
def test_boxes_do_not_depend_on_the_maps_scale(heat: np.ndarray, scale: float) -> None:
    heat = np.round(heat, 3)
    assert np.array_equal(boxes(heat, 0.35), boxes(heat * 2.0 ** round(np.log2(scale)), 0.35))


@pytest.mark.parametrize(
    ("heat", "threshold"), [(np.zeros((0, 3)), 0.2), (np.full((2, 2), np.nan), 0.2), (np.ones((2, 2)), 1.0)]
)
def test_what_has_no_boxes_is_refused(heat: np.ndarray, threshold: float) -> None:
    with pytest.raises(DataError):
        boxes(heat, threshold)


def rasterised(a: np.ndarray, b: np.ndarray, side: int = 12) -> float:
    """Overlap by counting pixels."""
    masks = [np.zeros((side, side), dtype=bool) for _ in range(2)]
    for mask, (x0, y0, x1, y1) in zip(masks, (a, b), strict=True):
        mask[y0:y1, x0:x1] = True
    return float((masks[0] & masks[1]).sum() / max((masks[0] | masks[1]).sum(), 1))


CORNERS = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)


@given(CORNERS, CORNERS)
def test_overlaps_count_pixels(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert float(iou(np.array([a], float), np.array([b], float))[0, 0]) == pytest.approx(rasterised(a, b))


def test_overlaps_with_corners_as_pixels_are_wsolevaluations() -> None:
    found = iou(np.array([[1.0, 2, 5, 6]]), np.array([[3.0, 1, 4, 5]]), inclusive=True)
    assert float(found[0, 0]) == pytest.approx(8 / 27)  # the figure of their own unit test


def test_a_crop_is_undone() -> None:
    frame = InputFrame((100, 60), (20.0, 0.0, 80.0, 60.0))  # the middle of a wide picture
    seen = np.array([[0.0, 1.0, 7.0, 3.0]])
    there = frame.to_picture(seen, (7, 7))
    assert np.allclose(there, [[20, 60 / 7, 80, 180 / 7]])
    assert np.allclose(frame.to_input(there, (7, 7)), seen)


def test_padding_is_cut_off() -> None:
    frame = InputFrame((100, 50), (0.0, -25.0, 100.0, 75.0))
    assert np.allclose(frame.to_picture(np.array([[0.0, 0.0, 10.0, 10.0]]), (10, 10)), [[0, 0, 100, 50]])


BLOB = np.zeros((7, 7))
BLOB[2:4, 3:6] = 1.0


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_every_protocol_boxes_a_blob_in_its_own_frame(name: str) -> None:
    rule, frame = PROTOCOLS[name], InputFrame((140, 280), (0.0, 0.0, 140.0, 280.0))
    truth = rule.truth(np.array([[60.0, 80.0, 120.0, 160.0]]), frame)
    assert float(iou(rule.boxes(BLOB, frame)[:1], truth, inclusive=rule.inclusive)[0, 0]) > 0.4


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_no_protocol_fails_on_a_blank_map(name: str) -> None:
    found = PROTOCOLS[name].boxes(np.zeros((7, 7)), InputFrame.whole(50, 40))
    assert found.shape[1] == 4
    assert float(iou(found, np.array([[10.0, 10, 30, 30]])).max(initial=0.0)) < 0.01


def test_wsolevaluations_own_expectations() -> None:
    rule = PROTOCOLS["wsolevaluation-v1"]
    assert rule.at(np.zeros((4, 4)), 0.5).tolist() == [[0, 0, 0, 0]]  # type: ignore[attr-defined]
    single = np.zeros((5, 5))
    single[2, 2] = 1.0
    assert rule.at(single, 0.5).tolist() == [[2, 2, 3, 3]]  # type: ignore[attr-defined]


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'cam-code'"):
        PROTOCOLS["cam-kode"]
