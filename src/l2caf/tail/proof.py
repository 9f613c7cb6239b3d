"""Cut a network open at a layer, and prove that what comes after it can be replayed."""

from typing import Final

import torch
from torch import nn

from l2caf.errors import TailError
from l2caf.shapes import Outputs
from l2caf.tail.place import Slots
from l2caf.tail.record import record
from l2caf.tail.replay import ON_MISSING_VALUES, Keep, ReadOutput, Tail
from l2caf.tail.script import Held, Inputs, Recording

REPLAY_RTOL: Final = 1e-4  # a replay repeats the same float32 kernels; other batch sizes change summation order only


def cut(
    model: nn.Module,
    inputs: Inputs,
    slots: Slots,
    read: ReadOutput,
    *,
    keep: Keep | None = "shapes",
    memory: int | None = None,
) -> Tail:
    """Record one forward pass and prove that its tail can be replayed.

    Args:
        model: a borrowed network.
        inputs: what to call it with.
        slots: the layer at which to cut, its runs and frames, and where space is in its map.
        read: takes the network's output to (b, n).
        keep: the least to keep of the pass before the layer; more is kept where the proof needs it.
            None runs the whole network on every call instead (the paper's vanilla form).
        memory: bytes of filtered feature maps in flight; None for a size that suits the device.

    Returns:
        A tail whose output under the all-ones filter equals the network's.

    Raises:
        LayerError: if the layer is never called.
        TailError: if no replay repeats the recorded output; the message says by how much it differs, or why.
    """
    levels: tuple[Keep | None, ...] = ("shapes", "alive", "all")
    levels = levels[levels.index(keep) :] if keep else (None,)
    recording: Recording | None = None
    reason: Exception | None = None
    for level in levels:
        if recording is None or level == "all":
            recording = record(model, inputs, slots.layer, hold=Held.copy_of if level == "all" else Held.of)
        if level == "alive" and recording.is_stale():  # what the network still held was written into after the layer
            continue
        tail = Tail(model, recording, slots.layout, read, keep=level, memory=memory)
        try:
            _prove(tail)
        except ON_MISSING_VALUES as error:
            reason = error
        else:
            return tail
    if isinstance(reason, TailError):
        raise reason
    raise TailError(f"the network cannot be replayed from this layer on: {reason}") from reason


def _prove(tail: Tail) -> None:
    """Replay with f = 1 and compare with what the network said."""
    ones = torch.ones(tail.n_inputs, tail.n_positions, device=tail.features.device)
    with torch.no_grad():
        replayed = tail(ones, tail.all_rows())
    if replayed.shape != tail.reference.shape:
        raise TailError(
            f"replaying gave outputs of shape {tuple(replayed.shape)}, expected {tuple(tail.reference.shape)}"
        )
    worst, tolerance = _difference(replayed, tail.reference)
    if not worst <= tolerance:
        raise TailError(
            f"replaying the network with the all-ones filter changed its output by {worst:.1e} (relative), expected at "
            f"most {tolerance:.0e}: it is random in eval mode, keeps state between calls, or computes across the batch"
        )


def prove_rows_apart(tail: Tail) -> None:
    """Check that an input's output does not depend on what else is in the batch, nor on its place in it.

    Args:
        tail: the tail.

    Raises:
        TailError: if it does.
    """
    filters = torch.ones(3, tail.n_positions, device=tail.features.device)
    filters[1] = torch.linspace(-1, 2, tail.n_positions)
    rows = torch.tensor([0, 0, tail.n_inputs - 1], device=tail.features.device)
    with torch.no_grad():
        together = tail.through(tail.layout.apply(tail.features.index_select(0, rows), filters), rows)
    worst, tolerance = _difference(together[::2], tail.reference[rows[::2]])
    if not worst <= tolerance:
        raise TailError(
            f"what the network says of one input changes by {worst:.1e} (relative) with the others in the batch: it "
            "keeps a batch normalisation in train mode, or mixes the inputs; explain it with that switched off"
        )


def _difference(replayed: Outputs, reference: Outputs) -> tuple[float, float]:
    """The worst relative difference, and the tolerance of replays in this precision."""
    tolerance = max(REPLAY_RTOL, 16 * torch.finfo(reference.dtype).eps)
    distance = (replayed.double() - reference.double()).norm(dim=1)
    scale = reference.double().norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    comparable = torch.isfinite(scale)  # an output that is not finite proves nothing, and is for the caller to report
    return float((distance / scale)[comparable].max()) if bool(comparable.any()) else 0.0, tolerance
