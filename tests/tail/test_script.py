import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf.errors import LayerError, LayoutError
from l2caf.tail import Inputs, LayerCalls, is_picture, record
from l2caf.tail.script import Held, held_by
from l2caf.tail.trees import tensors_in, with_part


def test_inputs_are_a_tensor_a_tuple_or_a_mapping() -> None:
    x = torch.ones(1)
    assert Inputs.ensure(x).args == (x,)
    assert Inputs.ensure((x, 2)).args == (x, 2)
    assert Inputs.ensure({"x": x}).kwargs == {"x": x}
    inputs = Inputs((x, [2, {"y": x}]), {"z": x})
    assert Inputs.ensure(inputs) is inputs
    assert len(inputs.tensors()) == 3
    assert [float(tensor) for tensor in inputs.map(lambda tensor: 2 * tensor).tensors()] == [2, 2, 2]


def test_until_ends_the_call_with_the_output_of_an_inner_module() -> None:
    model, x = networks.gap(), networks.pictures()
    assert torch.equal(Inputs((x,), until=model[0]).call(model), model[0](x))  # type: ignore[index]
    with pytest.raises(LayerError, match="the ReLU given as `until` does not run"):
        Inputs((x,), until=nn.ReLU()).call(model)


def test_one_tensor_of_a_nested_output_is_changed_and_the_others_otherwise() -> None:
    a, b, c = (torch.full((1,), value) for value in (1.0, 2.0, 3.0))
    tree = (a, {"b": b, "text": "kept"}, [c])
    assert tensors_in(tree) == [a, b, c]
    changed = with_part(tree, 1, lambda tensor: 10 * tensor, lambda tensor: -tensor)
    assert changed == (-a, {"b": 10 * b, "text": "kept"}, [-c])
    assert with_part(tree, 2, lambda tensor: 10 * tensor) == (a, {"b": b, "text": "kept"}, [30])
    assert with_part(a, 0, lambda tensor: 10 * tensor) == 10


def test_a_held_tensor_is_kept_only_while_somebody_else_holds_it_and_is_stale_once_written_into() -> None:
    tensor, gone = torch.ones(3), torch.ones(3)
    held, freed = Held.of(tensor), Held.of(gone)
    copied = Held.copy_of(tensor)
    del gone
    for one in (held, freed, copied):
        one.settle()
    assert held.value is tensor
    assert freed.value is None
    assert not held.is_stale()
    tensor += 1
    assert held.is_stale()
    assert not copied.is_stale()
    assert torch.equal(copied.value, torch.ones(3))  # type: ignore[arg-type]
    assert held.shape_only().value is None
    assert held.shape_only().shape == (3,)


class TwoMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.pair = Both()

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.pair(self.stem(x))
        return (left * right).mean((2, 3))


class Both(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.tanh(), x.relu()


def test_a_recording_in_float32_holds_no_other_float_and_one_of_shapes_no_value() -> None:
    model, x = TwoMaps().half(), networks.pictures().half()
    with torch.no_grad():
        recording = record(model, Inputs((x,)), LayerCalls(model.pair), hold=Held.copy_of)
    wide = recording.in_float32()
    held = [one.value for event in wide.script for one in held_by(event) if one.value is not None]
    assert len(held) == 3
    assert {tensor.dtype for tensor in (*wide.maps, *wide.inputs.tensors(), *held, wide.output)} == {torch.float32}
    stem = next(event.output for event in wide.script if event.module is model.stem)
    assert stem.value.dtype == stem.dtype == torch.float32
    shapes = recording.shapes_only().script
    assert next(event.output for event in shapes if event.module is model.stem).value is None
    assert all(one.value is not None for one in held_by(shapes[-1]))  # the layer's other map is not from before it


def test_the_first_of_a_batch_is_taken_from_every_tensor_with_a_row_for_each_input() -> None:
    x, table, scale = networks.pictures(3), torch.rand(7, 2), torch.tensor(2.0)
    first = Inputs((x, table), {"scale": scale}).first()
    assert torch.equal(first.args[0], x[:1])
    assert first.args[1] is table
    assert first.kwargs["scale"] is scale
    for nothing in ((), (torch.zeros(0, 3),), (torch.tensor(1.0),)):
        with pytest.raises(LayoutError, match="expected tensors"):
            Inputs(nothing).first()


def test_pictures_are_floats_or_bytes_with_an_axis_behind_channels_or_rows_of_floats_where_there_are_none() -> None:
    rows, picture = torch.zeros(2, 5), torch.zeros(2, 3, 4, 6)
    assert Inputs((rows, picture, picture.to(torch.uint8), picture.long())).pictures() == [1, 2]
    assert Inputs((rows, rows.long())).pictures() == [0]
    assert Inputs((rows.long(),)).pictures() == []
    assert not is_picture(rows)
