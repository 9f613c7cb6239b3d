"""What an explanation is: filters, how good they are, what was asked, and how far the answer can be trusted.

Every tensor that holds a value for each map has the axes of the maps: (b, k) for b inputs and k targets, or
(b, s, k) where the layer runs s times in a pass, or returns s frames, and each of them has a filter of its own.
"""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from l2caf import pictures, storage
from l2caf.attention import notebook
from l2caf.attention.evidence import Evidence, Trace
from l2caf.attention.following import Locality
from l2caf.attention.question import Question
from l2caf.errors import DataError, StorageError
from l2caf.solvers import Certificate

FORMAT: Final = "l2caf.attention/3"
TENSORS: Final = ("filter", "loss", "uniform_loss", "target", "output")
EVIDENCE: Final = ("residual", "undecided", "iterations", "unique", "spread")


@dataclass(frozen=True, repr=False, eq=False)
class Attention:
    """Filters of unit norm for a batch of b inputs and k targets each, and what is known about them.

    Attributes:
        filter: (b, k, *grid), or (b, s, k, *grid) where each of s runs or frames has its own; signed, of L2 norm 1 (or
            of the constraint's radius), on the device of the inputs.
        loss: (b, k) or (b, s, k), float64, computed by the network under the filter.
        uniform_loss: the same under the filter that prefers no position.
        target: (b, k) classes; None for class-oblivious maps (k = 1) and for similarity to k partners.
        output: (b, n), what the network said.
        question: what was asked of the network.
        evidence: how far each map can be trusted.
        inputs: the pictures among the inputs (b, ...), for drawing; not saved.
        trace: the way of the filters, where the solver kept it; not saved.
    """

    filter: Float[Tensor, " b *maps_and_grid"]
    loss: Float[Tensor, " b *maps"]
    uniform_loss: Float[Tensor, " b *maps"]
    target: Int[Tensor, "b k"] | None
    output: Float[Tensor, "b n"]
    question: Question
    evidence: Evidence
    inputs: Tensor | None = field(default=None)
    trace: Trace | None = field(default=None)

    @property
    def grid(self) -> tuple[int, ...]:
        """Spatial sizes of the filters."""
        return tuple(self.filter.shape[self.loss.dim() :])

    @property
    def certificate(self) -> Shaped[np.ndarray, "*maps"]:
        """How far each map can be trusted, as an array of `Certificate` members with the axes of the maps."""
        return self.evidence.certificate

    @property
    def locality(self) -> Locality:
        """How well the positions of the layer follow the picture, as was measured when it was first looked at."""
        return self.evidence.locality

    @property
    def undecided(self) -> Bool[Tensor, "*maps"]:
        """Where the uniform filter does as well as the best one: the map carries no spatial information.

        Of class-oblivious maps, those whose uniform filter keeps what was to be kept to 1 % (a normalisation behind the
        pooling undoes its scaling; `until=` the pooling layer asks a question that has an answer); of the others,
        those that gain less than 1e-4 of the loss.
        """
        return self.evidence.undecided

    @cached_property
    def negative_share(self) -> Float[Tensor, " b *maps"]:
        """Share of the squared norm in negative weights, in [0, 1]: how much of `|f|` speaks against."""
        weights = self.filter.flatten(self.loss.dim())
        return weights.clamp(max=0).square().sum(-1) / weights.square().sum(-1)

    def target_of(self, place: tuple[int, ...]) -> int | None:
        """The class of the map at a place (input, [run,] target); None for maps of no class."""
        return None if self.target is None else int(self.target[place[0], place[-1]])

    def run_of(self, place: tuple[int, ...]) -> int | None:
        """The number of the run or frame of the map at a place (input, run, target); None where there is only one."""
        return None if self.question.runs is None else self.question.runs[place[1]]

    def places(self, index: int) -> list[tuple[int, ...]]:
        """Where the maps of one input are: (input, [run,] target) for each, runs before targets."""
        return [(index, *place) for place in np.ndindex(*self.loss.shape[1:])]

    def heatmap(
        self, size: Sequence[int] | None = None, *, normalize: Literal["max", "minmax"] = "max"
    ) -> Float[Tensor, " b *maps_and_size"]:
        """The magnitude of the filters, resized to a picture.

        Args:
            size: spatial size to resize to; the inputs' own by default.
            normalize: `"max"` divides each map by its maximum (the paper's heatmap, up to scale); `"minmax"` also
                subtracts its minimum, as the published code draws it.

        Returns:
            (b, k, *size) or (b, s, k, *size) in [0, 1].
        """
        maps = self.filter.abs().flatten(1, self.loss.dim() - 1)
        resized = pictures.resize(maps, tuple(self.question.input_size if size is None else size))
        return pictures.normalized(resized, normalize, rank=len(self.grid)).unflatten(1, self.loss.shape[1:])

    def overlay(self, images: Tensor | None = None) -> UInt8[np.ndarray, "b *maps h w 3"]:
        """Each picture under each of its maps.

        Args:
            images: (b, c, h, w) pictures of any size; the inputs by default.

        Returns:
            RGB in [0, 255].

        Raises:
            DataError: if there are no pictures to draw on, they are no tensor, or they do not fit the batch.
        """
        images = self.inputs if images is None else images
        if images is not None and not isinstance(images, Tensor):
            raise DataError(
                f"overlay draws on tensors (b, c, h, w), not on a {type(images).__name__}; for a PIL image: "
                "`torchvision.transforms.functional.pil_to_tensor(image)[None]`"
            )
        if images is None or len(images) != len(self.filter):
            given = "none" if images is None else len(images)
            raise DataError(f"overlay needs one picture for each of {len(self.filter)} inputs; got {given}")
        rgb = pictures.to_rgb(images)
        heat = self.heatmap(images.shape[2:]).cpu().numpy()
        maps = [pictures.overlay(rgb[place[0]], heat[place]) for i in range(len(rgb)) for place in self.places(i)]
        return np.asarray(maps).reshape(*heat.shape, 3)

    def __repr__(self) -> str:
        """What was asked and how it was answered, in one line and without tensors."""
        (b, *runs, k), asked = self.loss.shape, self.question
        of_runs = f" x {runs[0]} runs" if runs else ""
        names, counts = np.unique([one.label for one in self.certificate.flat], return_counts=True)
        labels = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        return (
            f"Attention({b} inputs{of_runs} x {k} maps on {'x'.join(map(str, self.grid))} of {asked.layer!r}: "
            f"{asked.objective}, {asked.constraint}; {self.evidence.solver}: {labels}; {self.locality})"
        )

    def _repr_html_(self) -> str:
        """A table for notebooks: one row per input, one map per target, its loss and certificate below."""
        if len(self.grid) != 2:
            return f"<pre>{html.escape(repr(self))}</pre>"
        is_drawable = self.inputs is not None and self.inputs.dim() == 4
        maps = self.overlay() if is_drawable else self.heatmap().cpu().numpy()
        rows = [
            [
                (maps[place] if is_drawable else pictures.colorize(maps[place]), self._caption(place))
                for place in self.places(i)
            ]
            for i in range(len(self.filter))
        ]
        return notebook.table(rows)

    def _caption(self, place: tuple[int, ...]) -> str:
        target, run = self.target_of(place), self.run_of(place)
        what = self.question.objective if target is None else f"class {target}"
        what += "" if run is None else f", run {run}"
        return (
            f"{what}, loss {float(self.loss[place]):.4g} (uniform {float(self.uniform_loss[place]):.4g}), "
            f"{self.certificate[place].label}{', undecided' if bool(self.undecided[place]) else ''}"
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the result as safetensors and JSON, whole or not at all.

        Args:
            folder: a folder that does not exist yet.
            overwrite: replace an earlier result there.

        Returns:
            The folder.

        Raises:
            StorageError: if the folder exists and is not to be overwritten, or cannot be written.
        """
        named = {name: getattr(self, name) for name in TENSORS} | {
            name: getattr(self.evidence, name) for name in EVIDENCE
        }
        tensors = {name: tensor.contiguous().cpu() for name, tensor in named.items() if tensor is not None}
        labels = np.vectorize(lambda one: one.label, otypes=[str])(self.certificate)
        manifest = {
            "format": FORMAT,
            "question": asdict(self.question),
            "solver": self.evidence.solver,
            "locality": self.evidence.locality.stored(),
            "certificate": labels.tolist(),
            "start": None if self.evidence.start is None else self.evidence.start.tolist(),
        }
        with storage.new_folder(Path(folder), overwrite=overwrite) as temporary:
            save_file(tensors, temporary / "attention.safetensors")
            storage.write_manifest(temporary, manifest)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Attention":
        """Read what `save` wrote.

        Args:
            folder: the folder.

        Returns:
            The attention, on the CPU, without inputs and trace.

        Raises:
            StorageError: if the folder is missing, incomplete or holds something else.
        """
        manifest = storage.read_manifest(Path(folder))
        if manifest.get("format") != FORMAT:
            raise StorageError(f"{folder} holds {manifest.get('format')!r}; expected {FORMAT!r}")
        try:
            tensors = load_file(Path(folder) / "attention.safetensors")
            asked: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in manifest["question"].items()
            }
            certify = np.vectorize(lambda label: Certificate[label.upper()], otypes=[object])
            evidence = Evidence(
                certificate=certify(np.array(manifest["certificate"])),
                solver=manifest["solver"],
                locality=Locality.read(manifest["locality"]),
                start=None if manifest["start"] is None else np.array(manifest["start"]),
                **{name: tensors.get(name) for name in EVIDENCE},  # type: ignore[arg-type]  # unique may be None
            )
            return cls(
                question=Question(**asked),
                evidence=evidence,
                **{name: tensors.get(name) for name in TENSORS},  # type: ignore[arg-type]  # target may be None
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{folder} is damaged and cannot be read: {error}") from error
