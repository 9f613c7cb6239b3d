"""What may be explained: which objects are networks, what they are called with, and whose an error is.

A network is an `nn.Module` that calls other modules, since only between calls can a map be looked at. Everything else
is refused with the way on. An error that a network raises for its user's inputs is left as it is. Any other comes from
how it was called here, and says so.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils import _pytree as pytree

from l2caf.errors import DataError, L2CAFError, LayerError, LayoutError, ModelError, TailError
from l2caf.guard import unwrapped
from l2caf.tail import Inputs


def accepted_network(model: object) -> nn.Module:
    """The network that is to be explained.

    Args:
        model: what the user passed; wrappers such as `torch.compile` and `DataParallel` are taken off.

    Returns:
        The network inside.

    Raises:
        ModelError: if it is no network, or one that keeps what it calls to itself; says what to pass instead.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(_no_network(model))
    reason = _closed(model)
    network = model if reason else unwrapped(model)
    reason = reason or _closed(network)
    if reason:
        raise ModelError(reason)
    return network


def accepted_inputs(inputs: object) -> Inputs:
    """What the network is called with.

    Args:
        inputs: a tensor, a tuple of positional or a mapping of keyword arguments.

    Returns:
        The call.

    Raises:
        DataError: if there are arrays, pictures or file names, and no tensor.
    """
    call = Inputs.ensure(inputs)
    leaves = () if call.tensors() else pytree.tree_leaves((call.args, dict(call.kwargs)))
    for leaf in leaves:
        if isinstance(leaf, np.ndarray):
            raise DataError(
                f"inputs hold a NumPy array of shape {leaf.shape}; expected tensors (b, c, ...): "
                "`torch.from_numpy(array)`, with the type and the normalisation that the network was trained with"
            )
        if isinstance(leaf, Image.Image | str | Path):
            raise DataError(
                f"inputs hold a {'PIL image' if isinstance(leaf, Image.Image) else 'file name'}; expected tensors "
                "(b, c, h, w), or let `l2caf.load(name).explain(picture)` prepare it for a network that has a name"
            )
    return call


@contextmanager
def in_our_words(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Run the body, which looks through a network, and say what is wrong if it raises.

    Args:
        model: a borrowed network.
        inputs: what it is called with.

    Yields:
        Nothing.

    Raises:
        Exception: what the body raised, if that is an error of ours or memory ran out; what the network raises for its
            user's inputs; else `ModelError` for int8 layers, `LayoutError` for inputs without the axis of the batch,
            `DataError` for integers where the network wants floats, `TailError` for a network that answers its user's
            inputs and failed otherwise.
    """
    try:
        yield
    except Exception as error:
        said = error if isinstance(error, _UNTOUCHED) else _said(model, inputs, error)
        if said is error:
            raise
        raise said from (error if isinstance(said, L2CAFError) else None)


def _no_network(given: object) -> str:
    """Why something that is no module is refused."""
    kind = type(given).__name__
    if inspect.isclass(given):
        return f"the network is the class {given.__name__} and no instance of it; call it: `{given.__name__}(...)`"
    if type(given).__module__.startswith("torch.export"):
        return f"the network is an {kind}, {_FLAT}"
    parts = [name for name, value in getattr(given, "__dict__", {}).items() if isinstance(value, nn.Module)]
    if parts:
        inner = " or ".join(f"its `.{name}`" for name in parts)
        return f"the network is of type {kind}, which is no `nn.Module` but holds some: pass {inner}"
    if callable(given):
        return (
            f"the network is of type {kind}, which does not show what modules it calls; pass the `nn.Module`, or write "
            "one that has the network as an attribute and whose `forward` does the same"
        )
    what = f"the text {given!r}" if isinstance(given, str) else f"of type {kind}"
    return f"the network is {what}; expected an `nn.Module`"


_UNTOUCHED = (MemoryError, torch.cuda.OutOfMemoryError, Warning)  # nothing is wrong with the network
_FLAT = (
    "whose operators are no layers; explain the network that it was exported from, or what `torch.export.unflatten` "
    "makes of a program that was exported with a dynamic batch (`dynamic_shapes`)"
)
_KERAS = (
    "a Keras network does not show torch its layers; pass an `nn.Module` with `self.network = network` and "
    "`self.layers = nn.ModuleDict({layer.name: layer for layer in network.layers})`, whose `forward` takes "
    "(b, c, h, w) and returns `self.network(x)`, or `self.network(x.permute(0, 2, 3, 1))` if its channels come last"
)


def _closed(model: nn.Module) -> str | None:
    """Why a module is refused whose calls cannot be seen from outside; None for every other."""
    if isinstance(model, torch.jit.ScriptModule):
        return (
            "TorchScript runs its modules out of sight, so that nothing in them can be looked at; explain the network "
            "that it was scripted or traced from, and keep TorchScript for running it"
        )
    if isinstance(model, torch.fx.GraphModule) and "eval" in vars(model):  # only export forbids `eval()` like this
        return f"the network is the `module()` of an exported program, {_FLAT}"
    if any(base.__module__.split(".")[0] == "keras" for base in type(model).__mro__):
        return _KERAS
    return None


def _said(model: nn.Module, inputs: Inputs, error: Exception) -> Exception:
    """What to raise instead of an error, or the error itself."""
    is_ours = isinstance(error, L2CAFError)
    quantised = next((name for name, module in model.named_modules() if _is_int8(module)), None)
    if quantised is not None and (not is_ours or isinstance(error, LayerError)):
        reason = (
            f"no gradient passes the int8 layer {quantised!r}, so that no filter can be found in front of it; explain "
            "the float network that it was quantised from"
        )
        return LayerError(f"{error}; {reason}") if is_ours else ModelError(reason)
    if is_ours and not isinstance(error, LayoutError | LayerError):
        return error
    own = _failure(model, inputs)
    if own is not None:
        return _about_inputs(model, inputs) or (error if is_ours else own)
    return error if is_ours else _about_batches(model, inputs, error)


def _about_inputs(model: nn.Module, inputs: Inputs) -> L2CAFError | None:
    """What the user's inputs lack, found by calling the network with what they may have meant."""
    whole = [tensor for tensor in inputs.tensors() if tensor.dim() >= 3 and not tensor.is_floating_point()]
    if whole and _failure(model, inputs.map(lambda tensor: tensor.float())) is None:
        return DataError(
            f"pixels are of type {whole[0].dtype}, and the network wants floats; convert them as for its training, "
            "such as `pixels.float() / 255`, less the mean and over the deviation"
        )
    return _without_batch(model, inputs)


def _about_batches(model: nn.Module, inputs: Inputs, error: Exception) -> L2CAFError:
    """What is wrong with a network that answers its user's inputs."""
    alone = _failure(model, inputs.first())
    if alone is None:
        return TailError(
            f"the network answers these inputs, but {_named(error)} was raised while it was looked through, by the "
            "network or by a function given as `output` or `layout`"
        )
    return _without_batch(model, inputs) or TailError(
        f"the network answers {inputs.n_inputs} inputs, but not the first of them alone ({_named(alone)}); it must "
        "take batches of any size: an unflattened export is to be exported with a dynamic batch (`dynamic_shapes`)"
    )


def _without_batch(model: nn.Module, inputs: Inputs) -> LayoutError | None:
    """An error if the network answers the inputs with an axis in front."""
    shapes = [tuple(tensor.shape) for tensor in inputs.tensors()]
    is_flat = all(len(shape) == 3 for shape in shapes) and bool(shapes)
    if not is_flat or _failure(model, inputs.map(lambda tensor: tensor.unsqueeze(0))) is not None:
        return None
    return LayoutError(f"inputs of shapes {shapes} have no axis for the batch; pass `x.unsqueeze(0)` for one picture")


def _failure(model: nn.Module, inputs: Inputs) -> Exception | None:
    """What the network raises when it is called, if anything."""
    try:
        with torch.no_grad():
            inputs.call(model)
    except Exception as error:  # noqa: BLE001  (whatever a network raises is what is asked for)
        return error
    return None


def _named(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_int8(module: nn.Module) -> bool:
    home = type(module).__module__
    return home.startswith("torch.ao.nn") and ".quantized" in home
