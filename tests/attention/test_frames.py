"""One filter per frame, or one over all frames, however the frames are fed."""

import pytest
import torch
from tests.support import networks
from tests.support.clips import FEEDINGS, HEADS, Feeding, Fusing, clips, fusing
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF, Descent
from l2caf.attention.frames import frame_order
from l2caf.errors import LayerError, TailError
from l2caf.layouts import Frames
from l2caf.methods import GradCAM
from l2caf.tail import Inputs, LayerCalls


def under_filters(model: Fusing, clip: Tensor, filters: Tensor) -> Tensor:
    """The network's output with (b, t, h, w) filters on its frames, written out."""
    maps = torch.stack([model.trunk(frame) for frame in clip.unbind(1)], dim=1) * filters.unsqueeze(2)
    return model.fuse(maps.mean((3, 4)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("joint", [False, True])
def test_all_ways_of_feeding_frames_give_the_same_filters_and_real_losses(head: str, joint: bool) -> None:  # noqa: FBT001
    clip, found = clips(), []
    for feeding in FEEDINGS:
        model = fusing(head, feeding)
        with untouched(model):
            found.append(L2CAF(model, joint=joint)(clip))
    first = found[0]
    assert first.question.layer == "trunk"
    assert first.question.runs == (None if joint else (0, 1, 2))
    assert first.question.input_size == ((3, 16, 16) if joint else (16, 16))
    assert {c.label for c in first.certificate.flat} == {"global" if head == "mean" else "stationary"}
    for other in found[1:]:
        assert torch.allclose(other.filter, first.filter, atol=1e-5)
    with torch.no_grad():
        reference = model(clip)
        for t in range(1 if joint else 3):
            filters = torch.ones(2, 3, 4, 4)
            if joint:
                filters = first.filter[:, 0]
            else:
                filters[:, t] = first.filter[:, t, 0]  # the other frames' filters are off
            loss = (under_filters(model, clip, filters) - reference).square().sum(1)
            assert torch.allclose(first.loss[:, 0 if joint else t].flatten(), loss.double(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_a_batch_of_clips_is_its_clips_one_by_one(feeding: Feeding) -> None:
    model, clip = fusing("mean", feeding), clips()
    both = L2CAF(model)(clip, "top2")
    assert both.question.runs == (0, 1, 2)
    assert both.filter.shape == (2, 3, 2, 4, 4)
    for i in range(2):
        alone = L2CAF(model)(clip[i : i + 1], both.target[i : i + 1] if both.target is not None else None)
        assert torch.allclose(alone.filter[0], both.filter[i], atol=1e-5)


def test_a_frame_may_be_asked_for_alone() -> None:
    model, clip = fusing("lstm"), clips()
    every, one = L2CAF(model)(clip), L2CAF(model, call=1)(clip)
    assert one.question.runs is None
    assert torch.allclose(one.loss, every.loss[:, 1], rtol=1e-3)
    two = L2CAF(model, "trunk", call=(0, 2))(clip)
    assert two.question.runs == (0, 2)
    assert torch.allclose(two.loss, every.loss[:, [0, 2]], rtol=1e-3)
    with pytest.raises(LayerError, match=r"no frames \[3\]: it returns 3, 0 to 2"):
        L2CAF(model, call=3)(clip)


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("joint", [False, True])
def test_inner_layers_replayed_equal_the_whole_network_run(feeding: Feeding, joint: bool) -> None:  # noqa: FBT001
    model, clip = fusing("gru", feeding), clips()
    fast = L2CAF(model, "trunk.1", joint=joint, solver=Descent(max_iterations=1))(clip, 2)
    slow = L2CAF(model, "trunk.1", joint=joint, solver=Descent(max_iterations=1), fast=False)(clip, 2)
    assert torch.allclose(fast.loss, slow.loss, rtol=1e-4)
    assert torch.allclose(fast.uniform_loss, slow.uniform_loss, rtol=1e-4)


def test_features_extracted_earlier_are_an_input_of_frames() -> None:
    whole, clip = fusing("lstm"), clips()
    with torch.no_grad():
        features = torch.stack([whole.trunk(frame) for frame in clip.unbind(1)], dim=1)

    class OnFeatures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fuse = whole.fuse

        def forward(self, maps: Tensor) -> Tensor:
            return self.fuse(maps.mean((3, 4)))

    attention = L2CAF(OnFeatures(), "input")(features)
    assert attention.question.runs == (0, 1, 2)
    assert attention.question.layout == "channels-first"
    assert torch.allclose(attention.loss, L2CAF(whole)(clip).loss, rtol=1e-3)
    assert L2CAF(OnFeatures(), "input", joint=True)(features).grid == (3, 4, 4)


def test_grad_cam_has_a_map_per_frame() -> None:
    maps = GradCAM(fusing("lstm"))(clips(), "top1").map
    assert maps.shape == (2, 3, 1, 4, 4)
    assert torch.allclose(maps, GradCAM(fusing("lstm", "one by one"))(clips(), "top1").map, atol=1e-6)


class FeedsBack(nn.Module):
    """Each frame's features depend on those of the frame before."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.Tanh())
        self.head = nn.Linear(6, 5)

    def forward(self, clip: Tensor) -> Tensor:
        state, total = torch.zeros(1, 3, 1, 1), torch.zeros(1, 5)
        for frame in clip.unbind(1):
            features = self.layer(frame + state)
            state = features.mean((2, 3), keepdim=True)[:, :3]
            total = total + self.head(features.mean((2, 3)))
        return total


def test_a_joint_filter_acts_on_what_earlier_frames_have_become() -> None:
    model, clip = networks.seeded(FeedsBack()), clips()
    attention = L2CAF(model, "layer", joint=True)(clip)
    state, total = torch.zeros(1, 3, 1, 1), torch.zeros(1, 5)
    with torch.no_grad():
        for t, frame in enumerate(clip.unbind(1)):
            features = model.layer(frame + state) * attention.filter[:, 0, t].unsqueeze(1)
            state = features.mean((2, 3), keepdim=True)[:, :3]
            total = total + model.head(features.mean((2, 3)))
        loss = (total - model(clip)).square().sum(1)
    assert torch.allclose(attention.loss[:, 0], loss.double(), rtol=1e-3)


def test_a_network_that_mixes_clips_is_refused() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Conv2d(3, 4, 3, 4, 1)

        def forward(self, clip: Tensor) -> Tensor:
            return self.trunk((clip - clip.mean(0, keepdim=True)).flatten(0, 1)).unflatten(0, clip.shape[:2]).mean(1)

    model = networks.seeded(Mixing())
    with torch.no_grad(), pytest.raises(TailError, match="mixes its inputs"):
        frame_order(model, Inputs.ensure(clips(1)), LayerCalls(model.trunk))


def test_layers_of_a_clip_are_listed_with_their_frames() -> None:
    listed = L2CAF(fusing("lstm")).layers(clips())
    default = next(info for info in listed if info.is_default)
    assert default.grid == (3, 4, 4)
    assert default.layout.name == "channels-first, 3 frames"
    assert isinstance(default.layout, Frames)
