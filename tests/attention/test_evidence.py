import numpy as np
import torch
from tests.support import networks

from l2caf import L2CAF, Certificate, Descent, Oblivious, QuasiNewton


def test_an_optimum_of_loss_zero_among_the_kept_outputs_is_not_undecided() -> None:
    """The largest of many outputs is small beside all of them together, and yet all that was to be kept."""
    model, x = networks.seeded(networks.gap()), networks.pictures(2)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([-300.0, *[-400.0] * (len(model[-1].bias) - 1)]))
        model[-1].weight[0] *= 20
        attention = L2CAF(model, objective=Oblivious(top=1))(x)
    whole = attention.output.square().sum(1)
    assert bool((attention.uniform_loss[:, 0] < 1e-4 * whole).all())  # what the whole output would have hidden
    assert not bool(attention.undecided.any())


def test_evidence_has_the_axes_of_the_maps_and_says_which_start_won() -> None:
    evidence = L2CAF(networks.fully_connected(), solver=QuasiNewton(seeds=1))(networks.pictures(), "top2").evidence
    assert evidence.certificate.shape == evidence.residual.shape == (3, 2)
    assert set(evidence.certificate.flat) <= {Certificate.STATIONARY, Certificate.STOPPED}
    assert evidence.start is not None
    assert evidence.start.shape == (3, 2)
    assert set(np.unique(evidence.start)) <= {"uniform", "energy", "tangent", "seed 0"}
    assert evidence.spread is not None
    assert bool((evidence.spread >= 0).all())


def test_a_trace_ends_no_better_than_the_filter_that_is_returned() -> None:
    attention = L2CAF(networks.gap(), solver=Descent(max_iterations=30, keep_trace=True))(networks.pictures(), "top2")
    assert attention.trace is not None
    assert attention.trace.filter.shape == (len(attention.trace.loss), *attention.filter.shape)
    assert torch.allclose(attention.trace.loss.amin(0), attention.loss, rtol=1e-4)
