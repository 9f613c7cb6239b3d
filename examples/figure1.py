"""The paper's Figure 1 on pictures that need no download: one map over both objects, one map for each.

python examples/figure1.py docs/images/figure1.png
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from l2caf import L2CAF, ClassSpecific
from l2caf.data.digit_scenes import DigitScenes
from l2caf.models import load
from l2caf.pictures import overlay
from l2caf.recipes.digits import to_inputs

ENLARGED = 2
MARGIN = 6


def main(path: Path) -> None:
    """Draw two scenes of two digits: picture, class-oblivious map, a class-specific map for each digit."""
    scenes = DigitScenes("test", objects=2, length=4, seed=2)
    caf = L2CAF(load("digits").model, objective=ClassSpecific("mean"))
    rows = []
    for sample in (scenes[0], scenes[1]):
        inputs = to_inputs(torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1)[None])
        both, each = caf(inputs).heatmap()[0], caf(inputs, sample.classes.tolist()).heatmap()[0]
        maps = [overlay(sample.image, heat.numpy()) for heat in torch.cat([both, each])]
        rows.append(_strip([sample.image, *maps]))
    tall = np.concatenate([rows[0], np.full((MARGIN, *rows[0].shape[1:]), 255, np.uint8), rows[1]])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tall).save(path, optimize=True)


def _strip(images: list[np.ndarray]) -> np.ndarray:
    large = [np.asarray(Image.fromarray(i).resize((i.shape[1] * ENLARGED, i.shape[0] * ENLARGED))) for i in images]
    gap = np.full((large[0].shape[0], MARGIN, 3), 255, np.uint8)
    return np.concatenate([part for image in large for part in (image, gap)][:-1], axis=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
