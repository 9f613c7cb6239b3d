"""Every classifier, segmenter, video network and detector of torchvision."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.coverage.boxes import need_boxes
from benchmarks.coverage.subject import Subject
from l2caf.torchvision_compat import import_torchvision


def subjects() -> Iterator[Subject]:
    """Networks of every kind.

    Yields:
        The networks.
    """
    models = import_torchvision().models
    for name in models.list_models(module=models):
        side = 299 if name == "inception_v3" else 224
        yield Subject(f"torchvision/{name}", partial(_built, models, name), (3, side, side))
    for name in models.list_models(module=models.segmentation):
        yield Subject(f"torchvision.segmentation/{name}", partial(_built, models, name), (3, 128, 128), "out")
    for name in models.list_models(module=models.video):
        side = 224 if name.startswith(("mvit", "swin3d", "s3d")) else 112
        yield Subject(f"torchvision.video/{name}", partial(_built, models, name), (3, 16, side, side))
    need_boxes()
    for name in models.list_models(module=models.detection):
        yield Subject(f"torchvision.detection/{name}", partial(_detector, models, name), (3, 128, 128), total_score)


def total_score(answer: list[dict[str, Tensor]]) -> Tensor:
    """The scores of all boxes that a detector found, added up, (b, 1): their number differs from picture to picture."""
    return torch.stack([one["scores"].sum(0, keepdim=True) for one in answer])


def _built(models: Any, name: str, **options: Any) -> nn.Module:
    if name in {"googlenet", "inception_v3"}:
        options["init_weights"] = False
    if hasattr(models.segmentation, name):
        options["weights_backbone"] = None
    return models.get_model(name, weights=None, **options)


def _detector(models: Any, name: str) -> nn.Module:
    """A detector with few boxes, and with a threshold that boxes of random weights pass."""
    if "rcnn" in name:
        few = {"rpn_pre_nms_top_n_test": 50, "rpn_post_nms_top_n_test": 10, "box_detections_per_img": 5}
        options: dict[str, Any] = {**few, "box_score_thresh": 0.0}
    else:
        options = {"topk_candidates": 20, "detections_per_img": 5, "score_thresh": 0.0}
    if not name.startswith("ssd"):
        options |= {"min_size": 128, "max_size": 128}
    return models.get_model(name, weights=None, weights_backbone=None, **options)
