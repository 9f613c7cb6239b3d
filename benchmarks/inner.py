"""Tails that are not affine: ours beside the paper's own descent, fast and vanilla, seeds 0 to 2.

    python -m benchmarks.inner --output docs/results/inner [--mobilenet WEIGHTS] [--vanilla]

Time is in forward passes of the same input, losses are those the network gives under the filter. The descent stops by
the paper's rule and at 1000 iterations. The vanilla form is timed over a few iterations and scaled to the number that
the fast form took, as both walk the same path. Weights are random (seed 0) except MobileNetV2's, where a file is given.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.measure import machine
from l2caf import L2CAF, Attention, Descent
from l2caf.models import ModelCard, load

SEEDS: Final = (0, 1, 2)
VANILLA_STEPS: Final = 3
REPETITIONS: Final = 3


class LstmHead(nn.Module):
    """A convolutional trunk whose rows an LSTM reads, last layer first."""

    def __init__(self) -> None:
        super().__init__()
        trunk = load("torchvision/mobilenet_v2", pretrained=False).model.features
        self.trunk = trunk
        self.lstm = nn.LSTM(1280, 128, batch_first=True)
        self.head = nn.Linear(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, 64) of pictures (b, 3, h, w): the grid's positions are the time steps."""
        steps = self.trunk(x).flatten(2).transpose(1, 2)
        return self.head(self.lstm(steps)[0][:, -1])


@dataclass(frozen=True, slots=True)
class Case:
    """A network and the layer to look at; None for the default."""

    name: str
    build: Callable[[], nn.Module]
    layer: str | None


def _random(name: str) -> nn.Module:
    return load(f"torchvision/{name}", pretrained=False).model


def _lstm() -> nn.Module:
    torch.manual_seed(0)
    return LstmHead().eval()


def cases(mobilenet: Path | None) -> list[Case]:
    """The rows of the table."""
    rows = [
        Case("VGG-16, last convolution", partial(_random, "vgg16"), "features"),
        Case("ResNet-50, layer3", partial(_random, "resnet50"), "layer3"),
        Case("ResNet-50, layer2", partial(_random, "resnet50"), "layer2"),
        Case("GoogLeNet, inception4e", partial(_random, "googlenet"), "inception4e"),
        Case(
            "DenseNet-161, denselayer12 of denseblock4",
            partial(_random, "densenet161"),
            "features.denseblock4.denselayer12",
        ),
        Case("ViT-B/16, last block", partial(_random, "vit_b_16"), None),
        Case("Swin-T, last stage", partial(_random, "swin_t"), "features.6"),
        Case("LSTM head", _lstm, "trunk"),
    ]
    if mobilenet is not None:
        real = partial(_mobilenet, mobilenet)
        rows += [
            Case("MobileNetV2 (ImageNet), blocks.5", real, "blocks.5"),
            Case("MobileNetV2 (ImageNet), blocks.3", real, "blocks.3"),
        ]
    return rows


def _mobilenet(weights: Path) -> nn.Module:
    return load("timm/mobilenetv2_100", weights=weights, card=ModelCard(arguments={"pad_type": "same"})).model


def measure(case: Case, target: str | None, *, vanilla: bool) -> dict[str, Any]:
    """One row: ours and three seeds of the paper's descent."""
    model = _awake(case.build())
    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    forward = statistics.median(_timed(lambda: _forward(model, inputs))[0] for _ in range(5))
    ours = L2CAF(model, case.layer)
    ours(inputs, target)
    runs = [_timed(lambda: ours(inputs, target)) for _ in range(REPETITIONS)]
    mine = runs[0][1]
    descents = [
        _timed(lambda seed=seed: L2CAF(model, mine.layer, solver=Descent(seed=seed))(inputs, target)) for seed in SEEDS
    ]
    seconds = statistics.median(run[0] for run in runs)
    row = {
        "case": case.name,
        "layer": mine.layer,
        "grid": "x".join(map(str, mine.grid)),
        "objective": "oblivious" if target is None else "specific",
        "solver": mine.solver,
        "certificate": mine.certificate[0][0].label,
        "ours": {"cost": seconds / forward, "loss": float(mine.loss)},
        "descent": [
            {"cost": spent / forward, "loss": float(found.loss), "iterations": int(found.iterations)}
            for spent, found in descents
        ],
        "uniform": float(mine.uniform_loss),
    }
    if vanilla:
        row["vanilla_cost"] = _vanilla(model, mine.layer, inputs, target, forward) * int(descents[0][1].iterations)
    best = min(float(found.loss) for _, found in descents)
    row["loss_gap"] = (float(mine.loss) - best) / max(abs(best), 1e-12)
    row["speed_up"] = statistics.median(spent for spent, _ in descents) / seconds
    return row


def _vanilla(model: nn.Module, layer: str, inputs: Tensor, target: str | None, forward: float) -> float:
    """Forward passes per iteration."""
    spent = []
    for steps in (1, 1 + VANILLA_STEPS):
        caf = L2CAF(model, layer, solver=Descent(max_iterations=steps), fast=False)
        caf(inputs, target)
        spent.append(_timed(lambda caf=caf: caf(inputs, target))[0])
    return (spent[1] - spent[0]) / VANILLA_STEPS / forward


def _awake(model: nn.Module) -> nn.Module:
    """Random weights where the library starts from zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()) and parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def _forward(model: nn.Module, inputs: Tensor) -> Attention | None:
    with torch.inference_mode():
        model(inputs)
    return None


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--mobilenet", type=Path, help="MobileNetV2 weights for the last two rows")
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--vanilla", action="store_true", help="time the vanilla form too")
    arguments = parser.parse_args()
    rows = []
    for case in cases(arguments.mobilenet):
        if arguments.only and arguments.only not in case.name:
            continue
        for target in (None, "top1"):
            rows.append(measure(case, target, vanilla=arguments.vanilla))
            print(json.dumps(rows[-1]), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "inner.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("layer", "grid", "objective", "ours: cost", "loss", "descent: cost", "best loss", "gap", "speed-up")
    for row in rows:
        costs = statistics.median(run["cost"] for run in row["descent"])
        best = min(run["loss"] for run in row["descent"])
        table.add_row(
            row["case"], row["grid"], row["objective"], f"{row['ours']['cost']:.1f}", f"{row['ours']['loss']:.4g}",
            f"{costs:.1f}", f"{best:.4g}", f"{row['loss_gap']:+.1e}", f"{row['speed_up']:.1f}",
        )  # fmt: skip
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
