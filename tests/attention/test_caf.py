import dataclasses
import threading
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF, Certificate, ClassSpecific, Descent, Oblivious, UnitL2
from l2caf.errors import (
    ConstraintError,
    FeatureError,
    L2CAFError,
    LayerError,
    OutputError,
    SolverError,
    TailError,
    TargetError,
)


def by_hand(model: nn.Module, x: Tensor, f: Tensor) -> Tensor:
    """The network's output with its first child's map multiplied by filters (b, h, w): hooks of our own."""
    layer = next(model.children())
    handle = layer.register_forward_hook(lambda _m, _i, output: output * f[:, None])
    try:
        with torch.no_grad():
            return model(x)
    finally:
        handle.remove()


def test_oblivious_loss_is_that_of_the_network_under_the_filter_and_the_filter_has_unit_norm() -> None:
    model, x = networks.gap(), networks.pictures()
    attention = L2CAF(model)(x)
    f = attention.filter[:, 0]
    assert torch.allclose(f.flatten(1).norm(dim=1), torch.ones(3), atol=1e-6)
    with torch.no_grad():
        expected = (model(x) - by_hand(model, x, f)).square().sum(1)
    assert torch.allclose(attention.loss[:, 0], expected.double(), rtol=1e-4)
    assert attention.evidence.solver == "exact"
    assert all(c is Certificate.GLOBAL for c in attention.certificate.flat)


def test_class_specific_loss_is_equation_2_and_the_mean_variant_divides_the_others() -> None:
    model, x = networks.gap(), networks.pictures()
    for others, divisor in (("sum", 1), ("mean", 5)):
        attention = L2CAF(model, objective=ClassSpecific(others))(x, target=[4, 2])
        for column, c in enumerate((4, 2)):
            y = by_hand(model, x, attention.filter[:, column])
            expected = -y[:, c] + (y.sum(1) - y[:, c]) / divisor
            assert torch.allclose(attention.loss[:, column], expected.double(), rtol=1e-4, atol=1e-5)


@given(st.integers(0, 50), st.sampled_from([None, 2, "top2"]))
def test_no_random_feasible_filter_beats_a_map_certified_global(seed: int, target: int | str | None) -> None:
    model, x = networks.gap(), networks.pictures(1, seed=seed)
    attention = L2CAF(model)(x, target)
    goal_class = None if attention.target is None else int(attention.target[0, 0])
    generator = torch.Generator().manual_seed(seed)
    rivals = torch.randn(60, 8, 8, generator=generator)
    rivals = torch.cat([rivals, rivals.abs(), attention.filter[0, 0] + 0.05 * rivals])
    rivals /= rivals.flatten(1).norm(dim=1)[:, None, None]
    y, nt = by_hand(model, x.expand(len(rivals), -1, -1, -1), rivals), model(x).detach()
    loss = (nt - y).square().sum(1) if goal_class is None else y.sum(1) - 2 * y[:, goal_class]
    assert float(loss.min()) >= float(attention.loss[0, 0]) - 1e-4 * float(attention.uniform_loss[0, 0].abs())


@pytest.mark.parametrize("target", [None, "top3"])
@pytest.mark.parametrize("make", [networks.gap, networks.fully_connected])
def test_a_batch_is_explained_as_its_inputs_one_by_one(make: object, target: str | None) -> None:
    model, x = make(), networks.pictures()  # type: ignore[operator]
    caf = L2CAF(model, solver="auto" if make is networks.gap else Descent(max_iterations=30))
    together = caf(x, target).filter
    alone = torch.cat([caf(one[None], target).filter for one in x])
    assert torch.allclose(together, alone, atol=2e-4)


def test_permuting_the_classes_permutes_the_maps() -> None:
    model, x = networks.gap(), networks.pictures()
    forward, backward = L2CAF(model)(x, [0, 3, 5]), L2CAF(model)(x, [5, 3, 0])
    assert torch.allclose(forward.filter, backward.filter.flip(1), atol=1e-6)


@pytest.mark.parametrize(
    ("target", "k"),
    [(2, 1), ([1, 2], 2), (torch.tensor([0, 1, 2]), 1), (torch.tensor([[0, 1], [1, 2], [2, 3]]), 2), ("top5", 5)],
)
def test_targets_may_be_given_in_every_documented_form(target: object, k: int) -> None:
    attention = L2CAF(networks.gap())(networks.pictures(), target)  # type: ignore[arg-type]
    assert attention.target is not None
    assert attention.filter.shape == (3, k, 8, 8)
    assert attention.loss.shape == attention.target.shape == (3, k)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (6, "class 6 does not exist; the network has 6"),
        (-1, "class -1 does not exist"),
        ("top9", "asks for 9 classes; the network has 6"),
        ("best", "'best' is not understood"),
        ([], "not understood"),
        (torch.tensor([1, 2]), "does not fit 3 inputs"),
        (torch.tensor([1.0, 2.0, 3.0]), "expected an integer dtype"),
    ],
)
def test_impossible_targets_are_refused_and_the_network_is_untouched(target: object, message: str) -> None:
    model = networks.gap()
    with untouched(model), pytest.raises(TargetError, match=message):
        L2CAF(model)(networks.pictures(), target)  # type: ignore[arg-type]


def test_descent_reaches_the_exact_solution_given_enough_iterations() -> None:
    model, x = networks.gap(), networks.pictures()
    exact = L2CAF(model)(x)
    descent = L2CAF(model, solver=Descent(max_iterations=3000, epsilon=0.0))(x)
    cosine = (exact.filter * descent.filter).flatten(2).sum(-1)
    assert bool((cosine > 0.9999).all())
    assert bool((descent.loss >= exact.loss * (1 - 1e-5)).all())


@pytest.mark.parametrize("target", [None, "top2"])
def test_the_vanilla_form_finds_what_the_fast_form_finds(target: str | None) -> None:
    model, x = networks.fully_connected(), networks.pictures()
    solver = Descent(max_iterations=25)
    fast, vanilla = (L2CAF(model, solver=solver, fast=fast)(x, target) for fast in (True, False))
    assert torch.allclose(fast.filter, vanilla.filter, atol=1e-4)


def test_descent_is_deterministic_for_a_seed_and_keeps_its_trace_on_request() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    runs = [L2CAF(model, solver=Descent(max_iterations=9, seed=s, keep_trace=True))(x) for s in (1, 1, 2)]
    assert torch.equal(runs[0].filter, runs[1].filter)
    assert not torch.equal(runs[0].filter, runs[2].filter)
    assert runs[0].trace is not None
    assert runs[0].trace.filter.shape == (9, 3, 1, 4, 4)


def test_a_tail_that_is_not_affine_is_searched_and_never_called_proven() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    attention = L2CAF(model)(x)
    assert attention.evidence.solver == "quasi-newton"
    assert all(c is not Certificate.GLOBAL for c in attention.certificate.flat)
    assert bool((attention.loss <= attention.uniform_loss).all())
    with pytest.raises(SolverError, match="no closed form"):
        L2CAF(model, solver="exact")(x)


@pytest.mark.parametrize(
    "network",
    [networks.Flattening, networks.FunctionalInPlace, networks.Residual, networks.Between, networks.ClassToken],
)
@pytest.mark.parametrize("target", [None, 1])
def test_awkward_networks_are_explained_truly_and_left_untouched(network: type[nn.Module], target: int | None) -> None:
    model = networks.seeded(network())
    x = networks.pictures(2, 32 if network is networks.ClassToken else 16)
    with untouched(model):
        attention = L2CAF(model, solver=Descent(max_iterations=40))(x, target)
        name = attention.question.layer
    layer = dict(model.named_modules())[name]
    f = attention.filter[:, 0].flatten(1)

    def multiply(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        if output.dim() == 3:
            return output * torch.cat([torch.ones(len(f), 1), f], 1)[..., None]
        return output * f.view(len(f), 1, *output.shape[2:])

    with torch.no_grad():
        nt = model(x)
        handle = layer.register_forward_hook(multiply)
        y = model(x)
        handle.remove()
    expected = (nt - y).square().sum(1) if target is None else y.sum(1) - 2 * y[:, target]
    assert torch.allclose(attention.loss[:, 0], expected.double(), rtol=1e-3, atol=1e-4)


def test_the_default_layer_of_a_class_token_network_is_the_last_that_its_patches_reach_the_output_from() -> None:
    model, x = networks.seeded(networks.ClassToken()), networks.pictures(1, 32)
    layers = {info.name: info for info in L2CAF(model).layers(x)}
    assert layers["blocks.1"].reach == 0  # only the class token is read
    assert layers["blocks.0"].reach == 0  # the normalisation that follows undoes any scaling
    assert [name for name, info in layers.items() if info.is_default] == ["blocks.1.norm1"]
    assert layers["blocks.1.norm1"].layout.name == "tokens 8x8, 1 prefix"


def test_every_failure_leaves_the_network_untouched() -> None:
    x = networks.pictures()
    poisoned = x.clone()
    poisoned[1] = float("nan")
    failures: list[tuple[nn.Module, Tensor, dict[str, object], type[L2CAFError], str]] = [
        (networks.gap(), x, {"layer": "1"}, LayerError, "no spatial grid"),
        (networks.gap(), x, {"layer": "0.3"}, LayerError, "no layer '0.3'; did you mean"),
        (networks.seeded(networks.Deaf()), x, {"layer": "unused"}, LayerError, "does not reach|no position"),
        (networks.seeded(networks.Noisy()), x, {}, TailError, "random in eval mode"),
        (networks.seeded(networks.DictOutput()), x, {}, OutputError, "with keys 'logits'"),
        (networks.gap(), poisoned, {}, FeatureError, r"not finite for inputs \[1\]"),
        (networks.gap(), x, {"constraint": UnitL2(8.0)}, ConstraintError, "admits the all-ones filter"),
        (networks.gap(), x, {"constraint": "l3"}, ConstraintError, "unknown constraint 'l3'"),
    ]
    for model, inputs, options, error, message in failures:
        with untouched(model), pytest.raises(error, match=message):
            L2CAF(model, **options)(inputs)  # type: ignore[arg-type]


def test_an_exception_in_the_middle_of_a_solve_leaves_the_network_untouched() -> None:
    model = networks.fully_connected()
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt

    handle = model[1][3].register_forward_hook(interrupt)  # type: ignore[index]
    with untouched(model), pytest.raises(KeyboardInterrupt):
        L2CAF(model)(networks.pictures())
    handle.remove()


def test_train_mode_frozen_weights_gradients_and_inference_mode_change_nothing() -> None:
    x = networks.pictures()
    expected = L2CAF(networks.gap())(x, "top2").filter
    model = networks.gap().train()
    model[3].weight.grad = torch.ones_like(model[3].weight)  # type: ignore[index, union-attr]
    model[0].requires_grad_(requires_grad=False)  # type: ignore[index]
    with untouched(model), torch.inference_mode():
        inside = L2CAF(model)(x.clone(), "top2").filter
    assert torch.equal(inside, expected)


def test_output_selects_a_part_of_what_the_network_returns() -> None:
    model = networks.seeded(networks.DictOutput())
    x = networks.pictures()
    by_key = L2CAF(model, output="logits")(x, 1).filter
    by_function = L2CAF(model, output=lambda output: output["logits"])(x, 1).filter
    assert torch.equal(by_key, by_function)


def test_threads_that_share_a_network_do_not_disturb_each_other_or_plain_inference() -> None:
    model, x = networks.gap(), networks.pictures()
    expected, plain = L2CAF(model)(x, "top2").filter, model(x).detach()
    wrong: list[str] = []

    def explain() -> None:
        wrong.extend("map" for _ in range(10) if not torch.equal(L2CAF(model)(x, "top2").filter, expected))

    def infer() -> None:
        wrong.extend("output" for _ in range(50) if not torch.equal(model(x).detach(), plain))

    threads = [threading.Thread(target=job) for job in (explain, explain, infer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_untouched_notices_what_methods_leave_behind() -> None:
    model = networks.gap()
    with pytest.raises(AssertionError, match="changed"), untouched(model):
        model.train()
    with pytest.raises(AssertionError, match="changed"), untouched(model):
        model[0].register_forward_hook(lambda *_: None)  # type: ignore[index]


@pytest.mark.parametrize("make", [networks.gap, networks.fully_connected])
def test_only_the_largest_components_may_be_kept(make: Callable[[], nn.Module]) -> None:
    model, x = make(), networks.pictures()
    attention = L2CAF(model, objective=Oblivious(top=2))(x)
    largest = attention.output.topk(2).indices
    with torch.no_grad():
        outputs = by_hand(model, x, attention.filter[:, 0])
    apart = (outputs - attention.output).gather(1, largest)
    assert torch.allclose(apart.double().square().sum(1), attention.loss[:, 0], rtol=1e-3, atol=1e-6)
    everything = L2CAF(model)(x)
    of_everything = (
        (by_hand(model, x, everything.filter[:, 0]) - everything.output).gather(1, largest).double().square().sum(1)
    )
    assert bool((attention.loss[:, 0] <= of_everything + 1e-6).all())
    with pytest.raises(TargetError, match="keeps nothing"):
        Oblivious(top=0)


@pytest.mark.parametrize("starts_with_relu", [False, True])
def test_without_negative_weights_a_class_specific_map_is_proven_and_the_positive_part_of_the_signed_one(
    *, starts_with_relu: bool
) -> None:
    trunk, head = networks.gap()[:1], networks.gap()[1:]
    model = nn.Sequential(trunk, nn.ReLU(), *head) if starts_with_relu else networks.gap()
    layer, x = "0", networks.pictures()
    damped = L2CAF(model, layer, constraint=UnitL2(nonnegative=True))(x, "top2")
    searched = L2CAF(model, layer, constraint=UnitL2(nonnegative=True), solver="quasi-newton")(x, "top2")
    assert damped.evidence.solver == "exact"
    assert set(damped.certificate.flat) == {Certificate.GLOBAL}
    assert float(damped.filter.min()) >= 0
    assert bool((damped.loss <= searched.loss + 1e-6).all())
    if not starts_with_relu:
        signed = L2CAF(model, layer)(x, damped.target).filter.clamp(min=0)
        expected = signed / signed.flatten(2).norm(dim=2)[..., None, None]
        assert torch.allclose(damped.filter, expected, atol=1e-5)


def test_an_option_cannot_change_under_a_plan_that_was_made_for_another_one() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    caf = L2CAF(model, "0.0")
    assert caf(x).question.layer == "0.0"
    with pytest.raises(dataclasses.FrozenInstanceError):
        caf.layer = "0.1"  # type: ignore[misc]
    other = dataclasses.replace(caf, layer="0.1", solver=Descent(max_iterations=1))
    assert other(x).question.layer == "0.1"
    assert caf(x).question.layer == "0.0"
    assert (other.model, other.constraint) == (caf.model, caf.constraint)


def test_an_explainer_shows_its_network_by_name_and_the_options_that_were_said() -> None:
    model = networks.gap()
    assert repr(L2CAF(model)) == "L2CAF(Sequential)"
    said = L2CAF(model, model[0], objective=ClassSpecific("mean"), memory=1, joint=True)  # type: ignore[index]
    assert (
        repr(said) == f"L2CAF(Sequential, layer=Sequential, objective={ClassSpecific('mean')!r}, joint=True, memory=1)"
    )


def test_options_but_for_the_network_and_its_layer_are_given_by_keyword() -> None:
    with pytest.raises(TypeError):
        L2CAF(networks.gap(), "0", "l2")  # type: ignore[misc]
