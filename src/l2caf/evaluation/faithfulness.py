"""Whether a map tells what the network's answer depends on: pictures are changed where the map is high or low.

    deletion, insertion         area under the probability's curve as pixels are removed, or restored (Petsiuk et al.,
                                RISE, BMVC 2018)
    average drop, increase      what is lost, and how often something is won, when the map dims the picture
                                (Chattopadhay et al., Grad-CAM++, WACV 2018)

All take what the network is fed (normalised), so that zero is the mean colour; the figures of the papers do the same.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import DataError
from l2caf.evaluation.accumulating import Metric

Predict = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b n"]]
BLUR_SIZE: Final = 11  # of RISE's insertion start
BLUR_SIGMA: Final = 5.0
TINY: Final = 1e-30  # probabilities that round to 0 lose nothing
AT_ONCE: Final = 32  # changed pictures in one batch


def curve(
    predict: Predict,
    image: Float[Tensor, "c h w"],
    heat: Float[Tensor, "H W"],
    target: int,
    *,
    kind: Literal["deletion", "insertion"] = "deletion",
    step: int | None = None,
) -> Float[Tensor, " s"]:
    """Probability of a class as pixels are removed or restored, those with most heat first.

    Args:
        predict: from pictures to logits.
        image: as the network is fed.
        heat: at the picture's size; ties go in reading order.
        target: the class, of the untouched picture usually.
        kind: `"deletion"`: pixels become zero; `"insertion"`: they return to a blurred picture.
        step: pixels per step; a row of the picture by default, as in RISE.

    Returns:
        The probability after 0, step, 2 step, ... pixels, the last after all of them.

    Raises:
        DataError: if the map and the picture have different sizes.
    """
    if image.shape[1:] != heat.shape:
        raise DataError(f"a map of {tuple(heat.shape)} does not fit a picture of {tuple(image.shape[1:])}")
    order = heat.flatten().sort(descending=True, stable=True).indices
    start, end = (image, torch.zeros_like(image)) if kind == "deletion" else (_blurred(image), image)
    step = step or image.shape[2]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    counts = [*range(0, len(order), step), len(order)]
    answers = []
    for some in torch.tensor(counts, device=rank.device).split(AT_ONCE):
        changed = (rank.view(1, 1, *heat.shape) < some.view(-1, 1, 1, 1)).to(image.dtype)
        with torch.no_grad():
            answers.append(predict(start * (1 - changed) + end * changed).softmax(1)[:, target])
    return torch.cat(answers)


def _blurred(image: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
    """The picture under a Gaussian of 11 x 11 pixels, sigma 5."""
    at = torch.arange(BLUR_SIZE, dtype=image.dtype, device=image.device) - BLUR_SIZE // 2
    weights = torch.exp(-at.square() / (2 * BLUR_SIGMA**2))
    kernel = torch.outer(weights, weights)
    kernel = (kernel / kernel.sum()).expand(len(image), 1, -1, -1)
    return torch.nn.functional.conv2d(image[None], kernel, padding=BLUR_SIZE // 2, groups=len(image))[0]


def area(values: Float[Tensor, " s"]) -> float:
    """Area under a curve over [0, 1], by trapezoids of equal width."""
    return float((values.sum() - (values[0] + values[-1]) / 2) / (len(values) - 1))


class Faithfulness(Metric):
    """Deletion and insertion AUC, average drop and increase in confidence, means over pictures."""

    sums: Tensor
    total: Tensor

    def __init__(self, predict: Predict, *, step: int | None = None, **options: Any) -> None:
        """A metric; arguments as for `curve`, `options` of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.predict, self.step = predict, step
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, image: Float[Tensor, "c h w"], heat: Float[Tensor, "h w"], target: int) -> None:
        """Count one picture; the map is in [0, 1]."""
        curves = [
            curve(self.predict, image, heat, target, kind=kind, step=self.step) for kind in ("deletion", "insertion")
        ]
        with torch.no_grad():
            before, after = self.predict(torch.stack([image, image * heat])).softmax(1)[:, target].tolist()
        found = [*map(area, curves), max(0.0, before - after) / max(before, TINY), float(after > before)]
        self.sums += torch.tensor(found, dtype=torch.float64)
        self.total += 1

    def compute(self) -> dict[str, float]:
        """Means: `deletion` and `drop` are better low, `insertion` and `increase` high."""
        means = (self.sums / self.total).tolist()
        return dict(zip(("deletion", "insertion", "drop", "increase"), means, strict=True))
