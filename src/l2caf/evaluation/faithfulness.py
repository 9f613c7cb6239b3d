"""Faithfulness: how the network's answer changes when the picture is changed where the map is high or low.

    deletion, insertion         area under the curve of the class's probability as pixels are removed, or restored
                                (Petsiuk et al., RISE, BMVC 2018)
    average drop, increase      how much probability is lost, and how often some is gained, when the map dims the
                                picture (Chattopadhay et al., Grad-CAM++, WACV 2018)

All of them change the normalised input of the network, in which zero is the mean colour, as the papers do.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError
from l2caf.evaluation.accumulating import FedByMap, PictureMetric
from l2caf.evaluation.table import METRICS, JudgedMap, MapMetric, MetricContext
from l2caf.pictures import normalized, resize

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
        predict: the network, from pictures (b, c, h, w) to logits (b, n).
        image: the picture (c, h, w) as the network takes it.
        heat: the map at the picture's size; equal values are ordered as one reads.
        target: the class, usually the network's guess for the unchanged picture.
        kind: `"deletion"` sets pixels to zero; `"insertion"` restores pixels in a blurred picture.
        step: the number of pixels per step; None for a row of the picture, as in RISE.

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


class Faithfulness(PictureMetric):
    """Deletion and insertion AUC, average drop and increase in confidence: means over pictures."""

    sums: Tensor
    total: Tensor

    def __init__(self, predict: Predict, *, step: int | None = None, **options: Any) -> None:
        """A metric; `predict` and `step` are those of `curve`, `options` those of `torchmetrics.Metric`."""
        super().__init__(**options)
        self.predict, self.step = predict, step
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, image: Float[Tensor, "c h w"], heat: Float[Tensor, "h w"], target: int) -> None:
        """Count one picture as the network takes it, its map in [0, 1], and the class that the map explains."""
        curves = [
            curve(self.predict, image, heat, target, kind=kind, step=self.step) for kind in ("deletion", "insertion")
        ]
        with torch.no_grad():
            before, after = self.predict(torch.stack([image, image * heat])).softmax(1)[:, target].tolist()
        found = [*map(area, curves), max(0.0, before - after) / max(before, TINY), float(after > before)]
        self.sums += torch.tensor(found, dtype=torch.float64)
        self.total += 1

    def compute(self) -> dict[str, float]:
        """The means by name: low is better for `deletion` and `drop`, high for `insertion` and `increase`."""
        means = (self.sums / self.total).tolist()
        return dict(zip(("deletion", "insertion", "drop", "increase"), means, strict=True))


@METRICS.register("faithfulness")
def faithfulness(context: MetricContext) -> MapMetric:
    """Deletion and insertion AUC, average drop and increase; asks the network about some 450 pictures for each map."""
    loaded = context.loaded
    if loaded is None:
        raise DataError("metric 'faithfulness' runs the network again; got stored maps only, expected `loaded=` too")

    def arguments(one: JudgedMap) -> tuple[object, ...]:
        if one.target is None:
            raise DataError("metric 'faithfulness' needs a class of each picture, and an embedding has none")
        image = prepare(read_picture(one.file), **loaded.card.feeding)[0].to(loaded.device)
        heat = torch.from_numpy(one.heat)[None, None].to(image)
        return image, normalized(resize(heat, tuple(image.shape[1:])).clamp(min=0), rank=2)[0, 0], one.target

    return FedByMap(Faithfulness(loaded.model), arguments)
