"""Networks of MONAI for slices and for scans."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from benchmarks.coverage.subject import Output, Subject


def subjects() -> Iterator[Subject]:
    """Networks of every kind.

    Yields:
        The networks.
    """
    import monai.networks.nets as nets  # noqa: PLC0415, PLR0402

    for rank in (2, 3):
        side = 64 if rank == 3 else 128
        size = (1, *(side for _ in range(rank)))
        for name, options, output in _kinds(rank, size[1:]):
            yield Subject(f"monai/{name} {rank}-D", partial(_network, nets, name, options), size, output)


def _network(nets: Any, name: str, options: dict[str, Any]) -> nn.Module:
    return getattr(nets, name)(**options)


def _kinds(rank: int, size: tuple[int, ...]) -> Iterator[tuple[str, dict[str, Any], Output]]:
    channels = {"spatial_dims": rank, "in_channels": 1, "out_channels": 4}
    classes = {"spatial_dims": rank, "in_channels": 1, "num_classes": 4}
    yield "DenseNet121", channels, None
    yield "resnet18", {"spatial_dims": rank, "n_input_channels": 1, "num_classes": 4}, None
    yield "SEResNet50", classes, None
    if rank == 2:
        yield "EfficientNetBN", classes | {"model_name": "efficientnet-b0", "pretrained": False}, None
    vit = {"in_channels": 1, "img_size": size, "patch_size": 16, "num_layers": 2, "classification": True}
    yield "ViT", vit | {"num_classes": 4, "spatial_dims": rank}, 0
    yield "UNet", channels | {"channels": (16, 32, 64, 128), "strides": (2, 2, 2), "num_res_units": 1}, _mean_scores
    yield "BasicUNet", channels, _mean_scores
    yield "AttentionUnet", channels | {"channels": (16, 32, 64), "strides": (2, 2)}, _mean_scores
    yield "SegResNet", channels | {"init_filters": 8}, _mean_scores
    yield "SwinUNETR", channels | {"feature_size": 12}, _mean_scores
    yield "UNETR", channels | {"img_size": size, "feature_size": 8, "hidden_size": 192, "num_heads": 4}, _mean_scores


def _mean_scores(answer: Tensor) -> Tensor:
    """Scores (b, n, *grid) averaged over the picture, (b, n)."""
    return answer.flatten(2).mean(2)
