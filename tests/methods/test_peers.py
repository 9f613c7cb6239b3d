"""Methods of other libraries, by the names that these give them."""

import sys

import pytest
import torch
from tests.support import networks

from l2caf import L2CAF
from l2caf.errors import DataError, ExtraMissingError
from l2caf.methods import GradCAM, make


@pytest.mark.peers
@pytest.mark.parametrize("name", ["torchcam:GradCAM", "pytorch-grad-cam:GradCAM", "captum:LayerGradCam"])
def test_a_peers_gradcam_is_ours_for_each_class(name: str) -> None:
    model, x = networks.gap(), networks.pictures()
    classes = torch.tensor([[2, 0], [0, 1], [5, 3]])
    with L2CAF(model, "0").cut(x) as cut:
        theirs, ours = make(name, model, "0")(cut, classes), GradCAM(model, "0").on(cut, classes).map
    assert theirs.shape[:2] == (3, 2)
    if theirs.shape[2:] != ours.shape[2:]:  # pytorch-grad-cam resizes to the picture
        ours = torch.nn.functional.interpolate(ours, theirs.shape[2:], mode="bilinear")
    for mine, other in zip(ours.flatten(0, 1), theirs.flatten(0, 1), strict=True):
        if float(mine.max()) > 0:
            assert torch.corrcoef(torch.stack([mine.flatten(), other.flatten()]))[0, 1] > 0.99


@pytest.mark.peers
def test_an_unknown_method_of_a_peer_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"torchcam\.methods has no method 'LayerKAM'; did you mean 'LayerCAM'"):
        make("torchcam:LayerKAM", networks.gap())


def test_a_peer_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ExtraMissingError, match="bench"):
        make("captum:LayerGradCam", networks.gap())
