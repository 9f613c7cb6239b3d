"""What an explanation is: filters, how good they are, and how far they can be trusted."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from l2caf import pictures, storage
from l2caf.errors import DataError, StorageError
from l2caf.solvers import Certificate

FORMAT = "l2caf.attention/1"


@dataclass(frozen=True)
class Attention:
    """Filters of unit L2 norm for a batch of b inputs and k targets each, and what is known about them.

    Attributes:
        filter: (b, k, *grid), signed, of L2 norm 1 (or the constraint's radius), on the device of the inputs.
        loss: (b, k), float64, computed by the network under the filter.
        uniform_loss: (b, k), the same under the filter that prefers no position.
        target: (b, k) classes, or None for class-oblivious maps (k = 1) and those of similarity to k partners.
        certificate: b tuples of k certificates.
        residual: (b, k), how far from optimality, relative, in [0, 1].
        unique: (b, k), False where another filter is as good; None where that is not known.
        iterations: (b, k), 0 for closed forms.
        output: (b, n), what the network said.
        layer: name of the layer.
        layout: where its grid is, in words.
        solver: which solver found the filters.
        input_size: spatial size of the inputs.
        call: for each of the k maps, which run of the layer, or which frame of a clip, it is for; None where only one
            is looked at. With several runs and several targets, the targets of the first run come first.
        inputs: the network's first input tensor (b, ...), for drawing; not saved.
        trace: filters after every iteration (t, b, k, *grid), where asked for; not saved.
        trace_loss: losses of those filters (t, b, k); not saved.
        start: b tuples of k names: the start that led to each filter, where a solver had several.
        spread: (b, k), by how much the loss reached from the worst start exceeds `loss`.
        is_similarity: whether the maps are those of `Similar`.
    """

    filter: Float[Tensor, "b k *grid"]
    loss: Float[Tensor, "b k"]
    uniform_loss: Float[Tensor, "b k"]
    target: Int[Tensor, "b k"] | None
    certificate: tuple[tuple[Certificate, ...], ...]
    residual: Float[Tensor, "b k"]
    unique: Bool[Tensor, "b k"] | None
    iterations: Int[Tensor, "b k"]
    output: Float[Tensor, "b n"]
    layer: str
    layout: str
    solver: str
    input_size: tuple[int, ...]
    call: tuple[int, ...] | None = None
    inputs: Tensor | None = field(default=None, repr=False, compare=False)
    trace: Float[Tensor, "t b k *grid"] | None = field(default=None, repr=False, compare=False)
    trace_loss: Float[Tensor, "t b k"] | None = field(default=None, repr=False, compare=False)
    start: tuple[tuple[str, ...], ...] | None = None
    spread: Float[Tensor, "b k"] | None = None
    is_similarity: bool = False

    @property
    def grid(self) -> tuple[int, ...]:
        """Spatial sizes of the filters."""
        return tuple(self.filter.shape[2:])

    @cached_property
    def negative_share(self) -> Float[Tensor, "b k"]:
        """Share of the squared norm in negative weights, in [0, 1]: how much of `|f|` speaks against."""
        negative = self.filter.clamp(max=0).square().flatten(2).sum(-1)
        return negative / self.filter.square().flatten(2).sum(-1)

    @cached_property
    def undecided(self) -> Bool[Tensor, "b k"]:
        """Where the uniform filter does as well: nothing had to be preferred, and the map says nothing of places.

        Of class-oblivious maps, those whose output the uniform filter keeps to 1 % (a normalisation behind the pooling
        undoes its scaling; `until=` the pooling has an answer); of the others, those that gain less than 1e-4 of
        the loss.
        """
        if self.target is None and not self.is_similarity:
            return self.uniform_loss <= 1e-4 * self.output.double().square().sum(1, keepdim=True)
        return self.uniform_loss - self.loss <= 1e-4 * self.uniform_loss.abs()

    def heatmap(
        self, size: Sequence[int] | None = None, *, normalize: Literal["max", "minmax"] = "max"
    ) -> Float[Tensor, "b k *size"]:
        """The magnitude of the filters, resized to a picture.

        Args:
            size: spatial size to resize to; the inputs' own by default.
            normalize: `"max"` divides each map by its maximum (the paper's heatmap, up to scale); `"minmax"` also
                subtracts its minimum, as the published code draws it.

        Returns:
            (b, k, *size) in [0, 1].
        """
        resized = pictures.resize(self.filter.abs(), tuple(self.input_size if size is None else size))
        return pictures.normalized(resized, normalize, rank=len(self.grid))

    def overlay(self, images: Tensor | None = None) -> UInt8[np.ndarray, "b k h w 3"]:
        """Each picture under each of its maps.

        Args:
            images: (b, c, h, w) pictures of any size; the inputs by default.

        Returns:
            RGB in [0, 255].

        Raises:
            DataError: if there are no pictures to draw on, or they do not fit the batch.
        """
        images = self.inputs if images is None else images
        if images is None or len(images) != len(self.filter):
            given = "none" if images is None else len(images)
            raise DataError(f"overlay needs one picture for each of {len(self.filter)} inputs; got {given}")
        rgb = pictures.to_rgb(images)
        heat = self.heatmap(images.shape[2:]).cpu().numpy()
        rows = [[pictures.overlay(rgb[i], heat[i, j]) for j in range(heat.shape[1])] for i in range(len(rgb))]
        return np.asarray(rows)

    def _repr_html_(self) -> str:
        """A table for notebooks: one row per input, one map per target, its loss and certificate below."""
        if len(self.grid) != 2:
            return f"<pre>{html.escape(repr(self))}</pre>"
        if self.inputs is not None and self.inputs.dim() == 4:
            maps = self.overlay()
        else:
            heat = self.heatmap().cpu().numpy()
            maps = np.asarray([[pictures.colorize(one) for one in row] for row in heat])
        cells = [[self._cell(picture, i, j) for j, picture in enumerate(row)] for i, row in enumerate(maps)]
        return f"<table>{''.join(f'<tr>{chr(10).join(row)}</tr>' for row in cells)}</table>"

    def _cell(self, picture: UInt8[np.ndarray, "h w 3"], i: int, j: int) -> str:
        what = f"similar to partner {j}" if self.is_similarity else "class-oblivious"
        what = what if self.target is None else f"class {int(self.target[i, j])}"
        what += "" if self.call is None else f", run {self.call[j]}"
        caption = (
            f"{what}, loss {float(self.loss[i, j]):.4g} (uniform {float(self.uniform_loss[i, j]):.4g}), "
            f"{self.certificate[i][j].label}{', undecided' if bool(self.undecided[i, j]) else ''}"
        )
        image = f'<img src="{pictures.png_uri(picture)}" alt="{html.escape(caption)}" style="max-width:224px">'
        return f"<td style='text-align:left;vertical-align:top'>{image}<br><small>{html.escape(caption)}</small></td>"

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
        tensors = {name: getattr(self, name) for name in _TENSORS if getattr(self, name) is not None}
        with storage.new_folder(Path(folder), overwrite=overwrite) as temporary:
            save_file(
                {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
                temporary / "attention.safetensors",
            )
            storage.write_manifest(temporary, self._manifest())
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
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{folder}: attention.safetensors cannot be read: {error}") from error
        values: dict[str, Any] = {name: tensors.get(name) for name in _TENSORS}  # target and unique may be None
        return cls(
            **values,
            certificate=tuple(tuple(Certificate[c.upper()] for c in row) for row in manifest["certificate"]),
            layer=manifest["layer"],
            layout=manifest["layout"],
            solver=manifest["solver"],
            input_size=tuple(manifest["input_size"]),
            call=None if manifest["call"] is None else tuple(manifest["call"]),
            is_similarity=manifest.get("is_similarity", False),
            start=None if manifest["start"] is None else tuple(map(tuple, manifest["start"])),
        )

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "layer": self.layer,
            "layout": self.layout,
            "solver": self.solver,
            "input_size": list(self.input_size),
            "call": self.call,
            "start": self.start,
            "is_similarity": self.is_similarity,
            "certificate": [[certificate.label for certificate in row] for row in self.certificate],
            "torch": torch.__version__,
        }


_TENSORS = ("filter", "loss", "uniform_loss", "target", "residual", "unique", "iterations", "output", "spread")
