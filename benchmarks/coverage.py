"""On how many architectures the default settings work: timm's families, torchvision, Hugging Face transformers.

    python -m benchmarks.coverage --output docs/results/coverage [--shard 0/4] [--only timm]

A run that stopped is taken up; a fresh folder starts afresh.

Each network gets random weights from a fixed seed (what its library initialises to zero is made random too, or the
network would say nothing) and two random pictures. `ok` means: a layer was found, the replayed tail equals the network
(to 1e-4, or the cut is refused), the filters are finite and of unit norm, no loss is above the uniform filter's, and
the network is bit for bit what it was. Peers are asked for a class activation map on the same network: torchcam by
itself, the others at the layer that l2caf found, which is what they must be told.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from tests.support.untouched import same, snapshot
from torch import Tensor, nn

from benchmarks.measure import machine
from l2caf import L2CAF
from l2caf.torchvision_compat import import_torchvision

TRANSFORMERS: Final = (
    "Beit Bit ConvNext ConvNextV2 Cvt Data2VecVision DeiT Dinov2 EfficientNet FocalNet Hiera Levit MobileNetV1 "
    "MobileNetV2 MobileViT MobileViTV2 Pvt PvtV2 RegNet ResNet Segformer SwiftFormer Swin Swinv2 ViT ViTMSN"
)
FAMILIES: Final = Path(__file__).parents[1] / "docs/results/coverage/timm-families.json"
PEERS: Final = ("torchcam", "pytorch-grad-cam", "captum")


@dataclass(frozen=True)
class Subject:
    """A network to try.

    Attributes:
        name: with its library in front.
        build: makes it.
        size: shape of one input.
        output: which part of what it returns is explained.
    """

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, ...] = (3, 224, 224)
    output: str | None = None


@dataclass
class Row:
    """What happened to one network."""

    name: str
    ok: bool = False
    reason: str = ""
    layer: str = ""
    layout: str = ""
    solver: str = ""
    certificates: str = ""
    cost: float = 0.0
    first_cost: float = 0.0
    peers: dict[str, str] | None = None


def timm_subjects() -> Iterator[Subject]:
    """The smallest member of each of timm's families.

    Finding them builds every network that timm knows, for a quarter of an hour; the answer is kept beside the results.

    Yields:
        A network per family.
    """
    import_torchvision()
    import timm  # noqa: PLC0415

    known = json.loads(FAMILIES.read_text(encoding="utf-8")) if FAMILIES.is_file() else {}
    if known.get("timm") != timm.__version__:
        known = {"timm": timm.__version__, "smallest": list(_smallest_of_families())}
        FAMILIES.parent.mkdir(parents=True, exist_ok=True)
        FAMILIES.write_text(json.dumps(known, indent=1), encoding="utf-8")
    for name in known["smallest"]:
        size = tuple(timm.get_pretrained_cfg(name, allow_unregistered=True).input_size)
        yield Subject(f"timm/{name}", partial(timm.create_model, name), size)


def _smallest_of_families() -> Iterator[str]:
    import timm  # noqa: PLC0415

    for family in timm.list_modules():
        members = timm.list_models(module=family)
        if members:
            yield min(members, key=_timm_size)


def _timm_size(name: str) -> int:
    import timm  # noqa: PLC0415

    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in timm.create_model(name).parameters())
    except (RuntimeError, NotImplementedError, ValueError, TypeError):  # needs values to be built
        return 10**9


def torchvision_subjects() -> Iterator[Subject]:
    """Every classification, segmentation and video model."""
    models = import_torchvision().models
    for module, prefix, output in (
        (models, "torchvision", None),
        (models.segmentation, "torchvision.segmentation", "out"),
        (models.video, "torchvision.video", None),
    ):
        for name in models.list_models(module=module):
            yield Subject(
                f"{prefix}/{name}", partial(_torchvision, models, name), _torchvision_size(prefix, name), output
            )


def _torchvision(models: Any, name: str) -> nn.Module:
    keywords = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    if hasattr(models.segmentation, name):
        keywords["weights_backbone"] = None
    return models.get_model(name, weights=None, **keywords)


def _torchvision_size(prefix: str, name: str) -> tuple[int, ...]:
    if prefix.endswith("video"):
        return (3, 16, 224, 224) if name.startswith(("mvit", "swin3d", "s3d")) else (3, 16, 112, 112)
    return (3, 299, 299) if name == "inception_v3" else (3, 224, 224)


def transformers_subjects() -> Iterator[Subject]:
    """Vision architectures of Hugging Face transformers, from their default configuration, at 224 x 224."""
    import_torchvision()  # transformers imports it too
    import transformers  # noqa: PLC0415

    for name in TRANSFORMERS.split():
        config = getattr(transformers, f"{name}Config")()
        size = getattr(config, "image_size", 224)
        side = size if isinstance(size, int) else size[0]
        yield Subject(
            f"transformers/{name}",
            partial(getattr(transformers, f"{name}ForImageClassification"), config),
            (3, side, side),
            "logits",
        )


SOURCES: Final = {"timm": timm_subjects, "torchvision": torchvision_subjects, "transformers": transformers_subjects}


def random_weights(model: nn.Module) -> nn.Module:
    """Make what was initialised to zero random: a network that says nothing has nothing to look at."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and not bool(parameter.any()):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def try_one(subject: Subject, *, peers: bool = False) -> Row:
    """Explain two random pictures with default settings and check everything that can be checked."""
    row = Row(subject.name)
    torch.manual_seed(0)
    try:
        model = random_weights(subject.build())
        inputs = torch.randn(2, *subject.size, generator=torch.Generator().manual_seed(2))
        _explain(row, model, inputs, subject.output)
        if peers and subject.output is None and len(subject.size) == 3:
            row.peers = {peer: _ask(peer, model, inputs, row.layer) for peer in PEERS}
    except Exception as error:  # noqa: BLE001  (whatever goes wrong is this row's result)
        row.reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return row


def _explain(row: Row, model: nn.Module, inputs: Tensor, output: str | None) -> None:
    before = snapshot(model)
    caf = L2CAF(model, output=output)
    with torch.inference_mode():
        model(inputs)
        start = time.perf_counter()
        model(inputs)
        forward = time.perf_counter() - start
    start = time.perf_counter()
    oblivious = caf(inputs)
    row.first_cost = (time.perf_counter() - start) / forward
    row.layer, row.layout = oblivious.question.layer, oblivious.question.layout
    start = time.perf_counter()
    specific = caf(inputs, "top2" if oblivious.output.shape[1] >= 2 else 0)
    row.cost = (time.perf_counter() - start) / forward
    row.solver = f"{oblivious.evidence.solver} | {specific.evidence.solver}"
    labels = {c.label for attention in (oblivious, specific) for c in attention.certificate.flat}
    row.certificates = " ".join(sorted(labels))
    faults = []
    for attention in (oblivious, specific):
        norms = attention.filter.flatten(2).norm(dim=2)
        slack = 1e-4 * attention.uniform_loss.abs() + 1e-6
        if not bool(torch.isfinite(attention.filter).all()) or float((norms - 1).abs().max()) > 1e-4:
            faults.append("filter not finite or not of unit norm")
        if bool((attention.loss > attention.uniform_loss + slack).any()):
            faults.append("loss above the uniform filter's")
    after = snapshot(model)
    faults += [f"changed: {key}" for key in before if not same(before[key], after.get(key))][:1]
    row.ok, row.reason = not faults, "; ".join(faults)


def _ask(peer: str, model: nn.Module, inputs: Tensor, layer: str) -> str:
    """`map`, or why there is none."""
    try:
        cam = PEER_CALLS[peer](model, inputs, layer)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    if cam.dim() != 3 or min(cam.shape[1:]) < 2:
        return f"no map of two dimensions: {tuple(cam.shape)}"
    if not bool(torch.isfinite(cam).all()):
        return "not finite"
    return "map" if bool((cam.flatten(1).std(1) > 0).all()) else "blank"


def _torchcam(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    del layer  # it looks for one itself
    from torchcam.methods import GradCAM  # noqa: PLC0415

    with GradCAM(model, input_shape=tuple(inputs.shape[1:])) as cam:
        scores = model(inputs.clone().requires_grad_())
        return cam(scores.argmax(1).tolist(), scores)[0]


def _pytorch_grad_cam(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    import_torchvision()
    from pytorch_grad_cam import GradCAM  # noqa: PLC0415

    with GradCAM(model, [model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(inputs, None))


def _captum(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    from captum.attr import LayerGradCam  # noqa: PLC0415

    with torch.no_grad():
        classes = model(inputs).argmax(1)
    cam = LayerGradCam(model, model.get_submodule(layer)).attribute(inputs, classes, relu_attributions=True)
    return cam.squeeze(1)


PEER_CALLS: Final = {"torchcam": _torchcam, "pytorch-grad-cam": _pytorch_grad_cam, "captum": _captum}


def main() -> None:
    """Try every network of a shard; write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", choices=list(SOURCES), nargs="+", default=list(SOURCES))
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th network from the i-th on")
    parser.add_argument("--names", nargs="+", help="only networks whose name contains one of these")
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    first, step = (int(part) for part in arguments.shard.split("/"))
    name = "coverage.json" if step == 1 else f"coverage-{first}-of-{step}.json"
    rows = read(arguments.output / name)
    done = {row.name for row in rows}
    subjects = [subject for source in arguments.only for subject in SOURCES[source]()]
    for subject in subjects[first::step]:
        if subject.name in done or (arguments.names and not any(part in subject.name for part in arguments.names)):
            continue
        rows.append(try_one(subject, peers=not arguments.no_peers))
        print(json.dumps(asdict(rows[-1])), flush=True)
        gc.collect()
        write(rows, arguments.output, name)
    show(rows)


def read(file: Path) -> list[Row]:
    """What an earlier run did that stopped."""
    if not file.is_file():
        return []
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]


def write(rows: list[Row], folder: Path, name: str) -> None:
    """What is known so far: a run that is stopped leaves what it did."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    (folder / name).write_text(json.dumps(result, indent=1), encoding="utf-8")


def show(rows: list[Row]) -> None:
    """Print how many work, by library and peer, and every failure with its reason."""
    table = Table("library", "l2caf", *PEERS)
    for library in sorted({row.name.split("/")[0] for row in rows}):
        own = [row for row in rows if row.name.split("/")[0] == library]
        asked = [row.peers for row in own if row.peers]
        cells = [f"{sum(peers[peer] == 'map' for peers in asked)}/{len(asked)}" for peer in PEERS]
        table.add_row(library, f"{sum(row.ok for row in own)}/{len(own)}", *cells)
    console = Console(width=160)
    console.print(table)
    for row in rows:
        if not row.ok:
            console.print(f"{row.name}: {row.reason}", markup=False)


if __name__ == "__main__":
    main()
