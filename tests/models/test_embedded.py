import numpy as np
import pytest
import torch

from l2caf import L2CAF
from l2caf.data.digit_scenes import DigitScenes, Sample
from l2caf.errors import ModelError
from l2caf.models import ModelCard, load
from l2caf.models.embedded import digits
from l2caf.recipes.digits import evaluate, to_inputs


def inputs_of(samples: list[Sample]) -> torch.Tensor:
    return to_inputs(torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2))


def test_the_embedded_network_reads_single_digits_that_it_was_not_trained_on() -> None:
    figures = evaluate(digits(), "test", 300)
    assert figures["single_test"] >= 0.96  # 97 % and more on the 2000 scenes of the committed log; 300 here
    assert figures["pair_test"] >= 0.85
    assert figures["peak_test"] >= 0.9


def test_of_two_digits_the_oblivious_map_covers_both_and_each_specific_map_its_own() -> None:
    scenes = DigitScenes("test", length=24, objects=2, seed=5)
    samples = [scenes[i] for i in range(24)]
    targets = torch.from_numpy(np.stack([sample.classes for sample in samples]))
    caf = L2CAF(load("digits").model)
    oblivious, specific = caf(inputs_of(samples)).heatmap(), caf(inputs_of(samples), targets).heatmap()
    own, other, seen = [], [], []
    for i, sample in enumerate(samples):
        for j in range(2):
            inside, across = (_mass(specific[i, j], sample.boxes[n]) for n in (j, 1 - j))
            own.append(inside)
            other.append(across)
            seen.append(_peak(oblivious[i, 0], sample.boxes[j]))
    assert np.mean(own) > 2 * np.mean(other)
    assert np.mean(np.array(seen) > 0.3) > 0.8


def _mass(heat: torch.Tensor, box: np.ndarray) -> float:
    x0, y0, x1, y1 = box
    return float(heat[y0:y1, x0:x1].sum() / heat.sum())


def _peak(heat: torch.Tensor, box: np.ndarray) -> float:
    x0, y0, x1, y1 = box
    return float(heat[y0:y1, x0:x1].max())


def test_the_embedded_network_takes_no_arguments() -> None:
    with pytest.raises(ModelError, match="takes no arguments"):
        load("digits", card=ModelCard(arguments={"depth": 3}))
