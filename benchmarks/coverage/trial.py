"""Explain one network with default settings, and check what can be checked.

The outcome is one of

- `on the picture`: there is a map, nothing is wrong with it, and its positions follow the picture (`place`);
- `refused`: the library says in its own words that it gives none, and why;
- `wrong`: the positions do not follow the picture, the filter or its loss is not what it is said to be, the network is
  not what it was, or the call ended in somebody else's exception or not at all;
- `cannot be told`: there is a map, nothing else is wrong with it, but the movements of the positions do not say where
  they lie, or the library itself does not claim to know;
- `skipped`: the network does not run here without the library.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import torch
from tests.support.untouched import same, snapshot
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.coverage.peers import PEERS, ask
from benchmarks.coverage.place import Verdict, judge
from benchmarks.coverage.subject import Subject, as_it_is, call, read
from l2caf import L2CAF, Attention, L2CAFError
from l2caf.layouts import Layout

OUTCOMES: Final = ("on the picture", "refused", "wrong", "cannot be told", "skipped")
ALIKE: Final = 1e-5  # what a network says of two pictures differs by more, or it says nothing of them


@dataclass
class Row:
    """What happened to one network."""

    name: str
    outcome: str = "skipped"
    why: str = ""
    layer: str = ""
    layout: str = ""
    solver: str = ""
    certificates: str = ""
    cost: float = 0.0
    first_cost: float = 0.0
    peers: dict[str, str] | None = None


@dataclass(frozen=True)
class Claim:
    """Where the library says that positions are.

    Attributes:
        layer: name of the layer.
        layout: which of the numbers that the layer returns belong to which position.
        call: which run of the layer.
        part: which tensor of what it returns.
        is_open: whether it says itself that it cannot tell whether they follow the picture.
    """

    layer: str
    layout: Layout
    call: int = 0
    part: int = 0
    is_open: bool = False


class Late(BaseException):
    """The time is over; no `except Exception` on the way may take it for something else."""


class _Seen(Exception):  # noqa: N818  (it leaves the network early; nothing is wrong)
    """The layer has returned; the rest of the network does not matter."""


def try_one(subject: Subject, *, peers: bool = False) -> Row:
    """Explain two random pictures, and say what became of it.

    Args:
        subject: the network.
        peers: whether to ask other libraries as well.

    Returns:
        The outcome.
    """
    row = Row(subject.name)
    try:
        with _time_limit(subject.seconds):
            _try(row, subject, peers=peers)
    except Late:
        row.outcome, row.why = "wrong", f"not done after {subject.seconds} s ({row.why})"
    return row


def _try(row: Row, subject: Subject, *, peers: bool) -> None:
    row.why = "before it was explained"
    try:
        model = subject.network()
        inputs = subject.feed(subject.pictures(2))
        if _says_the_same(model, inputs, subject):
            _calibrate(model, inputs)
        seconds = _seconds_of(model, inputs)
    except Exception as error:  # noqa: BLE001  (an absent library, a network that does not run: no fault of ours)
        row.outcome, row.why = "skipped", _said(error)
        return
    row.why = "while it was explained"
    try:
        claim, faults = _explain(row, model, inputs, subject, seconds)
    except L2CAFError as error:
        row.outcome, row.why = "refused", _said(error)
        return
    except Exception as error:  # noqa: BLE001  (whatever goes wrong is the result)
        row.outcome, row.why = "wrong", _said(error)
        return
    if peers and subject.output is None and subject.feed is as_it_is and len(subject.size) == 3:
        row.peers = {peer: ask(peer, model, inputs, row.layer) for peer in PEERS}
    row.why = "while its positions were judged"
    verdict = where(model, subject, claim)
    if faults:
        row.outcome, row.why = "wrong", "; ".join(faults)
    elif claim.is_open and verdict.outcome == "wrong":
        row.outcome, row.why = "cannot be told", f"as the library says itself: {verdict.why}"
    else:
        row.outcome, row.why = verdict.outcome, verdict.why


def _says_the_same(model: nn.Module, inputs: Any, subject: Subject) -> bool:
    """Whether the network says the same of two pictures, but for the last digits."""
    with torch.inference_mode():
        said = read(call(model, inputs), subject.output).double()
    return bool((said[0] - said[1]).norm() <= ALIKE * said.norm())


def _calibrate(model: nn.Module, inputs: Any) -> None:
    """Give batch normalisations the statistics of these inputs: at random weights the signal of others fades."""
    norms = [
        module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    ]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.inference_mode():
        call(model, inputs)
    model.eval()


def _seconds_of(model: nn.Module, inputs: Any) -> float:
    with torch.inference_mode():
        call(model, inputs)
        start = time.perf_counter()
        call(model, inputs)
    return time.perf_counter() - start


def _explain(row: Row, model: nn.Module, inputs: Any, subject: Subject, seconds: float) -> tuple[Claim, list[str]]:
    """Two maps for each picture; what the library claims of them, and what is wrong with them."""
    before = snapshot(model)
    caf = L2CAF(model, output=subject.output)
    start = time.perf_counter()
    oblivious = caf(inputs)
    row.first_cost = (time.perf_counter() - start) / seconds
    row.layer, row.layout = oblivious.question.layer, oblivious.question.layout
    start = time.perf_counter()
    has_classes = oblivious.output.shape[1] >= 2
    specific = caf(inputs, "top2") if has_classes else oblivious
    row.cost = (time.perf_counter() - start) / seconds
    row.solver = f"{oblivious.evidence.solver} | {specific.evidence.solver}"
    row.certificates = " ".join(sorted({one.label for map_ in (oblivious, specific) for one in map_.certificate.flat}))
    claim = claim_of(caf, inputs)
    after = snapshot(model)
    faults = [f"the network is not what it was: {key}" for key in before if not same(before[key], after.get(key))][:1]
    for attention in (oblivious, specific):
        faults += _faults(attention)
    faults += _faults_of_loss(oblivious, claim, model, inputs, subject)
    return claim, faults


def claim_of(caf: L2CAF, inputs: Any) -> Claim:
    """Where the library says that positions are."""
    with caf.cut(inputs) as cut:
        slots = cut.tail.slots
        is_open = str(cut.locality).startswith("untold")
        return Claim(cut.layer, slots.layout, slots.layer.calls[-1], slots.layer.part, is_open)


def _faults(attention: Attention) -> list[str]:
    faults = []
    norms = attention.filter.flatten(attention.loss.dim()).norm(dim=-1)
    slack = 1e-4 * attention.uniform_loss.abs() + 1e-6
    if not bool(torch.isfinite(attention.filter).all()) or float((norms - 1).abs().max()) > 1e-4:
        faults.append("the filter is not finite or not of unit norm")
    if bool((attention.loss > attention.uniform_loss + slack).any()):
        faults.append("the loss is above the uniform filter's")
    return faults


def _faults_of_loss(attention: Attention, claim: Claim, model: nn.Module, inputs: Any, subject: Subject) -> list[str]:
    """Whether the network itself, with the filter multiplied in by a hook, has the loss that is claimed for it."""
    if attention.question.runs is not None or attention.question.joint:
        return []  # several filters, each with the others' maps left as they are
    filters = attention.filter.flatten(2)[:, 0]

    def multiplied(features: Tensor) -> Tensor:
        # The layout says which numbers are whose; the multiplication is ours.
        numbers = torch.arange(features.numel(), dtype=torch.float64).view(features.shape)
        owned = claim.layout.vectors(numbers).long()
        weights = torch.ones(features.numel(), dtype=features.dtype)
        weights[owned.flatten()] = filters.to(features)[..., None].expand(owned.shape).flatten()
        return features * weights.view(features.shape)

    with torch.no_grad():
        reference = read(call(model, inputs), subject.output).double()
        with _hooked(model, claim, multiplied):
            filtered = read(call(model, inputs), subject.output).double()
    own = (filtered - reference).square().sum(1)
    claimed = attention.loss.flatten()
    wrong = (own - claimed).abs() > 1e-3 * attention.uniform_loss.flatten().abs() + 1e-9
    return [f"its loss is {own.tolist()} by a hook, not {claimed.tolist()}"] if bool(wrong.any()) else []


def where(model: nn.Module, subject: Subject, claim: Claim, seed: int = 0) -> Verdict:
    """Whether the claimed positions follow the picture.

    Args:
        model: the network; it is in double precision afterwards, where it can be.
        subject: how to call it.
        claim: what to judge.
        seed: of the random pictures.

    Returns:
        The verdict.
    """
    dtype = _widened(model, subject, claim)

    def see(pictures: Tensor) -> Tensor:
        return claim.layout.vectors(features_of(model, _cast(subject.feed(pictures), dtype), claim))

    def answer(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return read(call(model, _cast(subject.feed(pictures), dtype)), subject.output)

    one = _cast(subject.feed(subject.pictures(1)), dtype)
    grid = claim.layout.grid(features_of(model, one, claim))
    return judge(see, subject.size, subject.picture_axes, grid, answer=answer, seed=seed)


def _widened(model: nn.Module, subject: Subject, claim: Claim) -> torch.dtype:
    """Put the network into double precision, where small movements do not drown, unless its code knows better."""
    try:
        features_of(model.double(), _cast(subject.feed(subject.pictures(1)), torch.float64), claim)
    except Exception:  # noqa: BLE001  (it makes tensors of single precision on its way)
        model.float()
        return torch.float32
    return torch.float64


def _cast(inputs: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map_only(Tensor, lambda one: one.to(dtype) if one.is_floating_point() else one, inputs)


def features_of(model: nn.Module, inputs: Any, claim: Claim) -> Tensor:
    """What the layer returns, by a hook of our own."""
    seen: list[Tensor] = []

    def keep(features: Tensor) -> Tensor:
        seen.append(features.clone())  # what follows may write into it
        raise _Seen

    with torch.no_grad(), _hooked(model, claim, keep):
        try:
            call(model, inputs)
        except _Seen:
            return seen[0]
    raise RuntimeError(f"layer {claim.layer!r} does not run {claim.call + 1} times")


@contextmanager
def _hooked(model: nn.Module, claim: Claim, change: Any) -> Iterator[None]:
    """The network with what the layer returns at the claimed call changed."""
    calls = 0

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        del module, args
        nonlocal calls
        calls += 1
        if calls - 1 != claim.call:
            return None
        leaves, tree = pytree.tree_flatten(output)
        at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)][claim.part]
        leaves[at] = change(leaves[at])
        return pytree.tree_unflatten(leaves, tree)

    handle = model.get_submodule(claim.layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raise `Late` in the middle of whatever runs after so many seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
