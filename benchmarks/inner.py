"""Tails that are not affine: ours beside the paper's own descent, fast and vanilla, seeds 0 to 2.

    python -m benchmarks.inner --output docs/results/inner [--mobilenet WEIGHTS] [--vanilla]

How they are timed: `l2caf.experiments.figure12`. Weights are random (seed 0) except MobileNetV2's, where a file is
given. The descent stops by the paper's rule and at 1000 iterations.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.measure import machine
from l2caf.experiments.figure12 import Timing, costs, draw, time_layer
from l2caf.models import ModelCard, load


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
    """A network and the layer to look at; None for the default. Untrained ones are awoken."""

    name: str
    build: Callable[[], nn.Module]
    layer: str | None
    is_trained: bool = False


def _random(name: str) -> nn.Module:
    return load(f"torchvision/{name}", pretrained=False).model


def _lstm() -> nn.Module:
    torch.manual_seed(0)
    return LstmHead().eval()


def cases(mobilenet: Path | None) -> list[Case]:
    """The rows of the table."""
    rows = [
        Case("VGG-16, last convolution", partial(_random, "vgg16"), "features"),
        Case("GoogLeNet, inception4e", partial(_random, "googlenet"), "inception4e"),
        Case(
            "DenseNet-161, denselayer12 of denseblock4",
            partial(_random, "densenet161"),
            "features.denseblock4.denselayer12",
        ),
        Case("ViT-B/16, last block", partial(_random, "vit_b_16"), None),
        Case("Swin-T, last stage", partial(_random, "swin_t"), "features.6"),
        Case("LSTM head", _lstm, "trunk"),
        Case("ResNet-50, layer3", partial(_random, "resnet50"), "layer3"),
        Case("ResNet-50, layer2", partial(_random, "resnet50"), "layer2"),
    ]
    if mobilenet is not None:
        real = partial(_mobilenet, mobilenet)
        rows[:0] = [
            Case("MobileNetV2 (ImageNet), blocks.5", real, "blocks.5", is_trained=True),
            Case("MobileNetV2 (ImageNet), blocks.3", real, "blocks.3", is_trained=True),
        ]
    return rows


def _mobilenet(weights: Path) -> nn.Module:
    return load("timm/mobilenetv2_100", weights=weights, card=ModelCard(arguments={"pad_type": "same"})).model


def _awake(model: nn.Module) -> nn.Module:
    """Random weights where the library starts from zero, and batch norms that know the size of what they normalise.

    An untrained stack of layers answers with 1e-9 or 1e5, at which the paper's stop, an absolute 1e-5, means nothing.

    Args:
        model: changed in place.

    Returns:
        The same network, in eval mode.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()) and parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        if norms:
            for norm in norms:
                norm.train().momentum = 1.0
            model(torch.randn(8, 3, 224, 224, generator=generator))
    return model.eval()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--mobilenet", type=Path, help="MobileNetV2 weights for the last two rows")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--vanilla", action="store_true", help="time the vanilla form too")
    arguments = parser.parse_args()
    rows: list[Timing] = []
    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(arguments.device)
    for case in cases(arguments.mobilenet):
        if arguments.only and arguments.only not in case.name:
            continue
        model = (case.build() if case.is_trained else _awake(case.build())).to(arguments.device)
        for target in (None, "top1"):
            rows.append(time_layer(case.name, model, inputs, case.layer, target, vanilla=arguments.vanilla))
            print(json.dumps(asdict(rows[-1])), flush=True)
            write(rows, arguments.output, arguments.device)  # a run that is stopped leaves what it did
    draw(rows, arguments.output / "inner.png")
    show(rows)


def write(rows: list[Timing], folder: Path, device: str) -> None:
    """The figures so far."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(), "device": device, "rows": [asdict(row) for row in rows]}
    (folder / "inner.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


def show(rows: list[Timing]) -> None:
    """Print the table."""
    table = Table(
        "layer",
        "grid",
        "objective",
        "ours: cost",
        "loss",
        "fast descent",
        "vanilla",
        "best loss",
        "gap",
        "of the gain",
        "speed-up",
    )
    for row in rows:
        cost = costs(row)
        best = min(run.loss for run in row.descent)
        table.add_row(
            row.name, row.grid, row.objective, f"{row.ours.cost:.1f}", f"{row.ours.loss:.4g}",
            f"{cost['descent, fast']:.1f}", f"{cost['descent, vanilla']:.0f}", f"{best:.4g}",
            f"{row.loss_gap:+.1e}", f"{row.gain_gap:+.1e}", f"{row.speed_up:.1f}",
        )  # fmt: skip
    console = Console(width=180)
    console.print(table)
    console.print(
        f"median speed-up {statistics.median(row.speed_up for row in rows):.1f}, "
        f"least {min(row.speed_up for row in rows):.1f}, largest gap {max(row.loss_gap for row in rows):+.1e}"
    )


if __name__ == "__main__":
    main()
