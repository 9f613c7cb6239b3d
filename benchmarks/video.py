"""Cost of attention over time beside a plain forward pass of the same clip, Grad-CAM, and the paper's own descent.

    python -m benchmarks.video --output docs/results/video --weights runs/clips/seed0/clips.safetensors

Three networks that see clips in three ways: the paper's Figure 8 folds frames into the batch, a ResNet-18 is called
frame by frame under an LSTM, and r3d_18 sees t x h x w at once. Methods take turns within one process; figures are
medians of ratios to the forward pass of the same turn. What is found by search takes as many steps as the weights make
it: those of Figure 8 may be trained (`l2caf.recipes.clips`), the others' are random (seed 0).
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.measure import interleaved, machine, ratios
from l2caf import L2CAF, Descent
from l2caf.data.digit_clips import DigitClips
from l2caf.methods import GradCAM
from l2caf.models.clips import ClipEmbedder
from l2caf.models.embedded import digits
from l2caf.recipes.clips import as_inputs, trained
from l2caf.torchvision_compat import import_torchvision

FORWARD: Final = "forward"
DESCENT: Final = "the paper's descent, class-oblivious"
CLASSES: Final = 10


@dataclass(frozen=True, slots=True)
class Case:
    """A network, clips for it, and where its filters go.

    Attributes:
        sees_volumes: one filter over t x h x w is all there is.
        has_classes: its output are logits.
    """

    name: str
    model: nn.Module
    clips: Tensor
    layer: str | None = None
    sees_volumes: bool = False
    has_classes: bool = True


class FrameByFrame(nn.Module):
    """A CNN called once per frame, under an LSTM: clips (b, t, 3, h, w) to logits (b, 10)."""

    def __init__(self, cnn: nn.Module, channels: int) -> None:
        super().__init__()
        self.cnn = cnn
        self.lstm = nn.LSTM(channels, 128, batch_first=True)
        self.classes = nn.Linear(128, CLASSES)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits, from the last of the states."""
        states, _ = self.lstm(torch.stack([self.cnn(frame) for frame in clips.unbind(1)], dim=1))
        return self.classes(states[:, -1])


def figure8(batch: int, weights: Path | None) -> Case:
    """The paper's Figure 8 network on DigitClips of four frames."""
    torch.manual_seed(0)
    model = ClipEmbedder(digits().features).eval() if weights is None else trained(weights)
    test = DigitClips("test", length=batch)
    clips = torch.stack([as_inputs(test[index].frames) for index in range(batch)])
    return Case("Figure 8: CNN folded, LSTM", model, clips, "shallow", has_classes=False)


def frame_by_frame(batch: int) -> Case:
    """A ResNet-18 called on each of eight frames."""
    torch.manual_seed(0)
    cnn = import_torchvision().models.resnet18()
    cnn.fc = nn.Identity()
    return Case("ResNet-18 frame by frame, LSTM", FrameByFrame(cnn, 512).eval(), torch.randn(batch, 8, 3, 112, 112))


def volumes(batch: int) -> Case:
    """r3d_18 on as many frames as it was made for."""
    torch.manual_seed(0)
    model = import_torchvision().models.video.r3d_18().eval()
    return Case("r3d_18", model, torch.randn(batch, 3, 16, 112, 112), sees_volumes=True)


def forward(case: Case) -> Tensor:
    """Plain inference."""
    with torch.inference_mode():
        return case.model(case.clips)


def methods(case: Case) -> dict[str, Callable[[], object]]:
    """Everything that is timed."""
    caf, grad_cam = L2CAF(case.model, case.layer), GradCAM(case.model, case.layer)
    descent = L2CAF(case.model, case.layer, solver=Descent())
    timed: dict[str, Callable[[], object]] = {
        FORWARD: partial(forward, case),
        "class-oblivious": partial(caf, case.clips),
    }
    if not case.sees_volumes:
        joint = L2CAF(case.model, case.layer, joint=True)
        timed["class-oblivious, joint"] = partial(joint, case.clips)
    if case.has_classes:
        timed["class-specific"] = partial(caf, case.clips, "top1")
    if case.has_classes and not case.sees_volumes:
        timed["class-specific, joint"] = partial(joint, case.clips, "top1")
    return timed | {"Grad-CAM": partial(grad_cam, case.clips), DESCENT: partial(descent, case.clips)}


def time_case(case: Case, repetitions: int) -> dict[str, Any]:
    """All timings of one network."""
    seconds = interleaved(methods(case), repetitions)
    found = L2CAF(case.model, case.layer)(case.clips)
    return {
        "network": case.name,
        "clips": len(case.clips),
        "input": list(case.clips.shape[1:]),
        "layer": found.question.layer,
        "grid": list(found.grid),
        "filters_per_clip": found.filter.shape[1],
        "solver": found.evidence.solver,
        "forward_s": statistics.median(seconds[FORWARD]),
        "cost": ratios(seconds, FORWARD),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("method", *(row["network"] for row in rows), title="cost in forward passes of the same clips")
    for method in dict.fromkeys(name for row in rows for name in row["cost"]):
        table.add_row(method, *(f"{row['cost'][method]:.2f}" if method in row["cost"] else "" for row in rows))
    Console(width=160).print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="clips.safetensors of l2caf.recipes.clips; else random ones")
    parser.add_argument("--batch", type=int, default=1, help="clips at once")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    cases = (figure8(arguments.batch, arguments.weights), frame_by_frame(arguments.batch), volumes(arguments.batch))
    rows = [time_case(case, arguments.repetitions) for case in cases]
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "repetitions": arguments.repetitions, "rows": rows}
    result["figure_8_weights"] = "random" if arguments.weights is None else "trained"
    (arguments.output / "speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
