"""Cost of a map beside a plain forward pass, Grad-CAM of three other libraries, and the paper's own descent.

    python -m benchmarks.speed --output docs/results/speed

Methods take turns within one process; figures are medians of ratios to the forward pass of the same turn. Weights are
random (seed 0): what is computed, and so the time, does not depend on them. Every library is given the same layer.
Peak memory is that of the tensors a call makes, beside the network and the inputs.
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

from benchmarks.measure import interleaved, machine, peak_of, ratios
from l2caf import L2CAF, Descent
from l2caf.methods import GradCAM
from l2caf.models import load
from l2caf.torchvision_compat import import_torchvision

NETWORKS: Final = ("resnet50", "googlenet", "densenet161", "mobilenet_v2")
FORWARD: Final = "forward"
FIRST: Final = "L2-CAF, first call"  # finds where to cut and whether the layer follows the picture, once for a shape
OURS: Final = ("L2-CAF oblivious", "L2-CAF specific", "L2-CAF top-5")
PEERS: Final = ("captum LayerGradCam", "torchcam GradCAM", "pytorch-grad-cam GradCAM")
DESCENT: Final = "the paper's descent, fast form"
VANILLA: Final = "the paper's descent, vanilla form"
VANILLA_STEPS: Final = 32  # of one picture: the vanilla form is timed over these, scaled to the steps of the fast form


@dataclass(frozen=True, slots=True)
class Case:
    """A network on its device and a batch for it."""

    name: str
    model: nn.Module
    inputs: Tensor
    layer: str

    @property
    def module(self) -> nn.Module:
        """The layer that all methods look at."""
        return self.model.get_submodule(self.layer)


def make_case(name: str, batch: int, device: str) -> Case:
    """A network with random weights and a batch of random pictures."""
    model = load(f"torchvision/{name}", pretrained=False).model.to(device)
    inputs = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    default = next(info.name for info in L2CAF(model).layers(inputs) if info.is_default)
    return Case(name, model, inputs, default)


def forward(case: Case) -> Tensor:
    """Plain inference."""
    with torch.inference_mode():
        return case.model(case.inputs)


def methods(case: Case) -> dict[str, Callable[[], object]]:
    """Everything that is timed at the full number of repetitions."""
    caf, own = L2CAF(case.model), GradCAM(case.model)
    classes = forward(case).argmax(1).clone()
    return {
        FORWARD: partial(forward, case),
        OURS[0]: lambda: caf(case.inputs),
        OURS[1]: lambda: caf(case.inputs, "top1"),
        OURS[2]: lambda: caf(case.inputs, "top5"),
        FIRST: lambda: L2CAF(case.model)(case.inputs),
        "l2caf GradCAM": lambda: own(case.inputs, "top1"),
        PEERS[0]: partial(_captum, case, classes),
        PEERS[1]: partial(_torchcam, case, classes),
        PEERS[2]: partial(_pytorch_grad_cam, case, classes),
    }


def _captum(case: Case, classes: Tensor) -> object:
    from captum.attr import LayerGradCam  # noqa: PLC0415  (peers only where they are timed)

    return LayerGradCam(case.model, case.module).attribute(case.inputs, target=classes, relu_attributions=True)


def _torchcam(case: Case, classes: Tensor) -> object:
    from torchcam.methods import GradCAM as TorchcamGradCAM  # noqa: PLC0415

    with TorchcamGradCAM(case.model, case.module) as cam:
        scores = case.model(case.inputs.clone().requires_grad_())
        return cam(classes.tolist(), scores)


def _pytorch_grad_cam(case: Case, classes: Tensor) -> object:
    import_torchvision()
    from pytorch_grad_cam import GradCAM as JacobGradCAM  # noqa: PLC0415
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: PLC0415

    with JacobGradCAM(case.model, [case.module]) as cam:
        return cam(case.inputs, [ClassifierOutputTarget(int(c)) for c in classes])


def time_case(case: Case, repetitions: int, slow_repetitions: int) -> dict[str, Any]:
    """All timings of one network and batch size."""
    seconds = interleaved(methods(case), repetitions)
    descent = L2CAF(case.model, solver=Descent())
    steps = int(descent(case.inputs).iterations.max())
    few_steps = max(4, VANILLA_STEPS // len(case.inputs))
    few = L2CAF(case.model, solver=Descent(max_iterations=1 + few_steps), fast=False)
    none = L2CAF(case.model, solver=Descent(max_iterations=1), fast=False)
    slow = interleaved(
        {
            FORWARD: partial(forward, case),
            DESCENT: lambda: descent(case.inputs),
            "few": lambda: few(case.inputs),
            "one": lambda: none(case.inputs),
        },
        slow_repetitions,
    )
    cost = ratios(seconds, FORWARD)
    slow_cost = ratios(slow, FORWARD)
    per_step = (slow_cost["few"] - slow_cost["one"]) / few_steps
    cost |= {DESCENT: slow_cost[DESCENT], VANILLA: slow_cost["one"] + per_step * (steps - 1)}
    return {
        "network": case.name,
        "layer": case.layer,
        "batch": len(case.inputs),
        "solver": L2CAF(case.model)(case.inputs).solver,
        "forward_s": statistics.median(seconds[FORWARD]),
        "forward_spread": max(seconds[FORWARD]) / min(seconds[FORWARD]),
        "descent_steps": steps,
        "cost": cost,
    }


def memory(case: Case) -> dict[str, float]:
    """Peak memory of every method as a share of plain inference's."""
    timed = methods(case)
    peaks = {name: peak_of(timed[name]) for name in (FORWARD, *OURS, *PEERS)}
    return {name: peak / peaks[FORWARD] for name, peak in peaks.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--slow-repetitions", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.networks:
        for batch in arguments.batches:
            case = make_case(name, batch, arguments.device)
            row = time_case(case, arguments.repetitions, arguments.slow_repetitions)
            if arguments.device == "cpu":
                row["memory"] = memory(case)
            rows.append(row)
            print(json.dumps(row), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "repetitions": arguments.repetitions, "rows": rows}
    (arguments.output / "speed.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    draw(rows, arguments.output / "speed.png")
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table: cost in forward passes, and memory in those of inference."""
    table = Table("method", *(f"{row['network']}\nB={row['batch']}" for row in rows), title="cost in forward passes")
    for method in rows[0]["cost"]:
        table.add_row(method, *(f"{row['cost'][method]:.2f}" for row in rows))
    for method in rows[0].get("memory", {}):
        table.add_row(f"memory: {method}", *(f"{row['memory'][method]:.2f}" for row in rows))
    Console(width=200).print(table)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A dot per method and network, on a logarithmic axis, for the largest batch."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    batch = max(row["batch"] for row in rows)
    names = list(rows[0]["cost"])[::-1]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for row in (row for row in rows if row["batch"] == batch):
        axes.plot([row["cost"][name] for name in names], range(len(names)), "o", alpha=0.8, label=row["network"])
    axes.axvline(1.1, color="0.6", linewidth=1, linestyle=":")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"cost in forward passes of the same batch (B = {batch}); dotted: 1.10")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
