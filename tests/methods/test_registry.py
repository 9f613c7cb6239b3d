"""The table of methods: what it knows, and what a method does with classes."""

import pytest
import torch
from tests.support import networks

from l2caf import L2CAF, ClassSpecific, UnitL2
from l2caf.errors import DataError, TargetError
from l2caf.methods import METHODS, OfOutput, baseline, make, methods
from l2caf.methods.cams import GradCAM


def test_every_method_of_the_table_gives_maps_of_classes_and_says_whether_it_needs_them() -> None:
    model, x = networks.gap(), networks.pictures()[:1]
    classes = torch.tensor([[2, 0]])
    found = methods([name for name in METHODS if name != "acol"], model)
    asking = {name for name, method in found.items() if method.needs_class}
    assert asking == {"cam", "gradcam", "gradcam-abs", "l2caf-specific", "l2caf-mean", "l2caf-mean-nonnegative"}
    with L2CAF(model).cut(x) as cut:
        for name, method in found.items():
            maps = method(cut, classes)
            assert maps.shape == (1, 2, 8, 8), name
            assert float(maps.min()) >= 0, name
            if name in asking:
                with pytest.raises(TargetError):
                    method(cut, None)
            else:
                assert torch.allclose(method(cut, None).expand(1, 2, 8, 8), maps), name
        expected = L2CAF(model, objective=ClassSpecific("mean"), constraint=UnitL2(nonnegative=True)).on(cut, classes)
        assert torch.allclose(found["l2caf-mean-nonnegative"](cut, classes), expected.filter.abs(), atol=1e-5)


def test_a_map_of_the_whole_output_is_repeated_behind_the_runs_of_the_layer() -> None:
    with L2CAF(networks.gap()).cut(networks.pictures()) as cut:
        object.__setattr__(cut, "calls", (0, 1))  # as where a layer runs twice and each run has its map
        maps = OfOutput(lambda _: torch.arange(6.0).reshape(3, 2, 1, 1, 1))(cut, torch.zeros(3, 4, dtype=torch.long))
    assert maps.shape == (3, 2, 4, 1, 1)
    assert maps[:, :, 3, 0, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_every_method_has_a_line_that_says_what_it_is() -> None:
    lines = METHODS.lines()
    assert {"torchcam:NAME", "pytorch-grad-cam:NAME", "captum:NAME"} <= lines.keys()
    assert all(lines.values())
    assert lines["gradcam"].startswith("Grad-CAM (Eq. 4 and 5)")
    assert lines["gradcam-sum"].endswith("of all components of the output (Eq. 6).")
    assert len(set(lines.values())) == len(lines)


def test_an_unknown_name_gives_the_nearest_and_every_other() -> None:
    with pytest.raises(DataError, match=r"unknown method 'gradkam'; did you mean 'gradcam.*torchcam:NAME"):
        make("gradkam", networks.gap())
    with pytest.raises(DataError, match=r"method 'no_such_module:map' cannot be imported"):
        make("no_such_module:map", networks.gap())
    with pytest.raises(DataError, match="'acol' needs a network with ACoL's two heads"):
        make("acol", networks.gap())


def test_a_subclass_of_gradcam_enters_as_a_method_of_a_class_and_of_the_sum() -> None:
    try:

        @baseline("gradcam-largest", summed="gradcam-largest-sum")
        class Largest(GradCAM):
            """The largest channel at each position."""

            def _weigh(self, tail, gradient):  # type: ignore[no-untyped-def]
                return tail.layout.vectors(tail.features).amax(2)[:, None].expand(-1, len(gradient), -1)

        model, x = networks.gap(), networks.pictures()
        with torch.no_grad():
            expected = model[0](x).amax(1, keepdim=True)
        found = methods(["gradcam-largest", "gradcam-largest-sum"], model)
        with L2CAF(model).cut(x) as cut:
            assert torch.allclose(found["gradcam-largest"](cut, torch.tensor([[1], [2], [0]])), expected)
            assert torch.allclose(found["gradcam-largest-sum"](cut, None), expected)
    finally:
        for name in ("gradcam-largest", "gradcam-largest-sum"):
            METHODS._things.pop(name, None)
