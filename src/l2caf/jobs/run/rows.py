"""From a batch of maps to rows of a table: one row per picture and target."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf import pictures
from l2caf.attention import Attention
from l2caf.data.feeding import Batch, Preparation
from l2caf.evaluation import InputFrame
from l2caf.evaluation import boxes as boxes_of
from l2caf.jobs.run.options import RunOptions

QUALITY: Final = 85  # of overlays, as JPEG
Columns = dict[str, Any]  # arrays, lists or Arrow's types by column name


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a batch of b pictures with k maps each, on the CPU.

    Attributes:
        batch: the pictures; their inputs are gone unless overlays are wanted.
        filters: the filters (b, k, *grid), float32.
        columns: arrays (b, k) by column name.
        certificates: the certificates of the maps, as b rows of k words.
        input_size: the height and width of the network's input.
    """

    batch: Batch
    filters: Float[np.ndarray, "b k *grid"]
    columns: dict[str, np.ndarray]
    certificates: Sequence[Sequence[str]]
    input_size: tuple[int, ...]


def schema(options: RunOptions, grid: Sequence[int]) -> pa.Schema:
    """The columns of a run.

    Args:
        options: which products are kept.
        grid: the grid of the filters, which are stored row-major.

    Returns:
        The schema.
    """
    columns: Columns = {
        "index": pa.int64(), "path": pa.string(), "width": pa.int32(), "height": pa.int32(),
        "region": pa.list_(pa.float32(), 4), "rank": pa.int32(), "target": pa.int32(), "call": pa.int32(),
        "prediction": pa.int32(), "score": pa.float32(), "loss": pa.float64(), "uniform_loss": pa.float64(),
        "certificate": pa.string(), "residual": pa.float64(), "unique": pa.bool_(), "undecided": pa.bool_(),
        "negative_share": pa.float32(),
    }  # fmt: skip
    products: Columns = {
        "box": pa.list_(pa.float32(), 4),
        "filter": pa.list_(pa.float16(), int(np.prod(grid))),
        "heatmap": pa.binary(),
        "overlay": pa.binary(),
    }
    columns |= {"agreement": pa.float32()} if options.compare else {}
    return pa.schema(columns | {name: kind for name, kind in products.items() if name in options.what})


def found_of(batch: Batch, attention: Attention, agreement: torch.Tensor | None, *, keep_inputs: bool) -> Found:
    """What is kept of a batch's maps, brought to the CPU.

    Args:
        batch: the pictures.
        attention: their maps.
        agreement: the agreement (b, k) with a second method, or None.
        keep_inputs: whether the inputs are kept, from which overlays are drawn.

    Returns:
        The maps and their figures as NumPy arrays.
    """
    b, rank = len(attention.loss), attention.loss.dim()
    k, runs, evidence = attention.loss[0].numel(), attention.question.runs, attention.evidence
    prediction = attention.output.argmax(1, keepdim=True).expand(b, k)
    asked = None if attention.target is None else attention.target.repeat(1, 1 if runs is None else len(runs))
    tensors = {
        "prediction": prediction, "score": attention.output.gather(1, prediction if asked is None else asked),
        "loss": attention.loss, "uniform_loss": attention.uniform_loss, "residual": evidence.residual,
        "undecided": evidence.undecided, "negative_share": attention.negative_share, "target": asked,
        "unique": evidence.unique, "agreement": agreement,
    }  # fmt: skip
    columns = {name: tensor.reshape(b, k).cpu().numpy() for name, tensor in tensors.items() if tensor is not None}
    if runs is not None:
        columns["call"] = np.tile(np.repeat(np.array(runs), k // len(runs)), (b, 1))
    words = [[certificate.label for certificate in row.flat] for row in attention.certificate]
    filters = attention.filter.flatten(1, rank - 1).float().cpu().numpy()
    kept = batch if keep_inputs else replace(batch, inputs=torch.empty(0, 3, 0, 0))
    return Found(kept, filters, columns, words, attention.question.input_size)


def as_table(found: Found, options: RunOptions, columns: pa.Schema, feeding: Preparation) -> pa.Table:
    """The rows of a batch.

    Args:
        found: what was found of the batch.
        options: which products are kept.
        columns: the columns of the run.
        feeding: how the network was fed, to draw what it was shown.

    Returns:
        The b * k rows: for each picture the rows of its maps.
    """
    batch, (b, k) = found.batch, found.filters.shape[:2]
    per_picture = {
        "index": batch.numbers, "path": batch.paths, "width": [size[0] for size in batch.sizes],
        "height": [size[1] for size in batch.sizes], "region": [list(region) for region in batch.regions],
    }  # fmt: skip
    values: Columns = {name: [one for one in many for _ in range(k)] for name, many in per_picture.items()}
    values["rank"] = list(range(k)) * b
    values["certificate"] = [word for row in found.certificates for word in row]
    values |= {name: array.reshape(-1) for name, array in found.columns.items()}
    values |= _products(found, options, feeding)
    return pa.table([_array(values.get(field.name), field.type, b * k) for field in columns], schema=columns)


def _array(values: Any, kind: pa.DataType, n: int) -> pa.Array:
    if values is None:
        return pa.nulls(n, kind)
    if pa.types.is_fixed_size_list(kind) and isinstance(values, np.ndarray):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), kind.list_size)
    return pa.array(values, kind)


def _products(found: Found, options: RunOptions, feeding: Preparation) -> Columns:
    values: Columns = {}
    if "filter" in options.what:
        values["filter"] = found.filters.astype(np.float16)
    if set(options.what) == {"filter"} or not options.what:
        return values
    maps = torch.from_numpy(found.filters).abs()
    heat = pictures.normalized(pictures.resize(maps, found.input_size)).numpy()
    if "box" in options.what:
        values["box"] = _boxes(heat, found.batch, options.threshold)
    if "heatmap" in options.what:
        values["heatmap"] = [_png(one) for row in heat for one in row]
    if "overlay" in options.what:
        shown = _shown(found.batch, feeding)
        values["overlay"] = [_jpeg(pictures.overlay(shown[i], one)) for i, row in enumerate(heat) for one in row]
    return values


def _boxes(heat: Float[np.ndarray, "b k h w"], batch: Batch, threshold: float) -> list[list[float] | None]:
    frames = [InputFrame(size, region) for size, region in zip(batch.sizes, batch.regions, strict=True)]
    found = (boxes_of(one, threshold, frame=frames[i]) for i, row in enumerate(heat) for one in row)
    return [box[0].tolist() if len(box) else None for box in found]


def _shown(batch: Batch, feeding: Preparation) -> UInt8[np.ndarray, "b h w 3"]:
    """What the network was shown, as pixels."""
    scale, offset = (torch.tensor(feeding[name]).view(1, -1, 1, 1) for name in ("std", "mean"))
    values = batch.inputs.cpu() * scale + offset
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _png(heat: Float[np.ndarray, "h w"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((heat * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def agreement_of(
    filters: Float[torch.Tensor, "b k *grid"], other: Float[torch.Tensor, "b k *othergrid"]
) -> Float[torch.Tensor, "b k"]:
    """Compare two methods' maps by the cosine of their magnitudes, in [0, 1].

    Args:
        filters: our filters, signed.
        other: the maps of the other method; on another grid they are resized to ours.

    Returns:
        The cosines; 0 where one of the maps is 0 throughout.
    """
    if other.shape[2:] != filters.shape[2:]:
        other = pictures.resize(other, filters.shape[2:])
    a, b = filters.abs().flatten(2), other.abs().flatten(2).to(filters)
    product = a.norm(dim=2) * b.norm(dim=2)
    return (a * b).sum(2) / product.clamp_min(torch.finfo(a.dtype).tiny)
