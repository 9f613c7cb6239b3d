"""Embedding networks for metric learning: a trunk up to its last grid, global average pooling, one linear layer.

The tail after the trunk is linear, so the class-oblivious filter of the raw embedding is exact; dividing by the norm
makes it a search.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize as of_unit_length

from l2caf.errors import ModelError
from l2caf.layouts import ChannelsFirst, Layout, likeliest_layout
from l2caf.models.embedded import DigitNet
from l2caf.torchvision_compat import import_torchvision

DIMENSIONS: Final = 128  # the paper's
HEAD: Final = 48  # the last grid is looked for among this many nodes at the end of a network


class Embedder(nn.Module):
    """An embedding network; `trunk` is its last layer with a grid, `projection` the linear layer.

    Source: Taha et al., ECCV 2020, supplementary S2.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        >>> Embedder(trunk, 8, dimensions=4)(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        dimensions: int = DIMENSIONS,
        *,
        normalize: bool = False,
        layout: Layout = ChannelsFirst(),
    ) -> None:
        """An embedding network with a random linear layer.

        Args:
            trunk: takes pictures (b, 3, h, w) to a grid of feature vectors.
            channels: the length of the grid's feature vectors.
            dimensions: the length of an embedding.
            normalize: whether embeddings have unit length; the losses take raw ones.
            layout: where space lies in what the trunk returns.
        """
        super().__init__()
        self.trunk = trunk
        self.projection = nn.Linear(channels, dimensions)
        self.normalize = normalize
        self.layout = layout

    def forward(self, x: Tensor) -> Float[Tensor, "b d"]:
        """Embeddings of pictures (b, 3, h, w)."""
        raw = self.projection(self.layout.vectors(self.trunk(x)).mean(1))
        return of_unit_length(raw, dim=1) if self.normalize else raw


def embedder_on(
    classifier: nn.Module, size: tuple[int, int], *, dimensions: int = DIMENSIONS, normalize: bool = False
) -> Embedder:
    """A classifier with its head replaced by an embedding.

    Args:
        classifier: a network of torchvision, timm or transformers, or the embedded one. It is taken apart and cannot be
            used afterwards.
        size: height and width of the classifier's input in pixels.
        dimensions: the length of an embedding.
        normalize: whether embeddings have unit length.

    Returns:
        The network in eval mode; its linear layer is random.

    Raises:
        ModelError: if the classifier has no grid of features before its head, or `dimensions` is below 1.
    """
    if dimensions < 1:
        raise ModelError(f"dimensions={dimensions} is out of range; expected the length of an embedding, such as 128")
    for trunk in _trunks_of(classifier.eval(), size):
        with torch.no_grad():
            features = trunk.eval()(torch.zeros(1, 3, *size))
        layout = likeliest_layout(features.shape, size) if isinstance(features, Tensor) else None
        if layout is not None:
            channels = layout.vectors(features).shape[2]
            return Embedder(trunk, channels, dimensions, normalize=normalize, layout=layout).eval()
    raise ModelError(f"{type(classifier).__name__} has no grid of features before its head")


def _trunks_of(classifier: Any, size: tuple[int, int]) -> Iterator[nn.Module]:
    """Networks that may be the trunk, the likeliest first."""
    if isinstance(classifier, DigitNet):
        yield classifier.features
    elif hasattr(classifier, "reset_classifier"):
        with suppress(TypeError, AssertionError, ValueError):  # not every network of timm can leave its pooling out
            classifier.reset_classifier(0, "")
            yield classifier
        yield _Features(classifier)
    elif hasattr(classifier, "base_model_prefix"):
        yield _HiddenState(classifier.base_model)
    else:
        yield _up_to_last_grid(classifier, size)


class _Features(nn.Module):
    """What a network of timm computes before its head; the head stays behind, unused."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier: Any = classifier

    def forward(self, x: Tensor) -> Tensor:
        """The features of pictures (b, 3, h, w)."""
        return self.classifier.forward_features(x)


class _HiddenState(nn.Module):
    """What a network of transformers hands to its pooling and its head."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base: Any = base

    def forward(self, x: Tensor) -> Tensor:
        """The features of pictures (b, 3, h, w)."""
        return self.base.forward(x).last_hidden_state  # without the hook that picks what is explained


def _up_to_last_grid(classifier: nn.Module, size: tuple[int, int]) -> nn.Module:
    """The network as torch.fx traces it, cut where the last grid is made before the layers of the head."""
    fx = import_torchvision("torchvision.models.feature_extraction")
    try:
        training, evaluating = fx.get_graph_node_names(classifier, suppress_diff_warning=True)
    except (ValueError, TypeError, NameError) as error:  # what a trace ends in where the way depends on values
        raise ModelError(f"{type(classifier).__name__} cannot be taken apart: {str(error).splitlines()[0]}") from error
    nodes = [name for name in evaluating[1:][-HEAD:] if name in training and not _is_of_head(classifier, name)]
    # The two modes may differ (auxiliary classifiers); only nodes that both have are asked for.
    probe = fx.create_feature_extractor(classifier, nodes, suppress_diff_warning=True)
    with torch.no_grad():
        found = probe.eval()(torch.zeros(1, 3, *size))
    grids = [name for name, value in found.items() if isinstance(value, Tensor) and likeliest_layout(value.shape, size)]
    if not grids:
        raise ModelError(f"{type(classifier).__name__} has no grid of features before its head")
    return _Only(fx.create_feature_extractor(classifier, {grids[-1]: "grid"}, suppress_diff_warning=True))


class _Only(nn.Module):
    """The one output of a feature extractor."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, x: Tensor) -> Tensor:
        """The grid of pictures (b, 3, h, w)."""
        return self.extractor(x)["grid"]


def _is_of_head(classifier: nn.Module, node: str) -> bool:
    """Whether a node lies in the child that holds the last parameters, or pools for it."""
    last_parameter = [name for name, _ in classifier.named_parameters()][-1]
    pools = isinstance(dict(classifier.named_modules()).get(node), nn.AdaptiveAvgPool2d)
    return pools or node.partition(".")[0] == last_parameter.partition(".")[0]
