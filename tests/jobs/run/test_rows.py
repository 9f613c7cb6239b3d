"""What rows are made of."""

import torch

from l2caf.jobs.run.rows import agreement_of


def test_agreement_is_the_cosine_of_magnitudes_also_on_another_grid() -> None:
    filters = torch.zeros(1, 2, 4, 4)
    filters[0, 0, :2] = -1.0
    other = torch.zeros(1, 2, 2, 2)
    other[0, 0, 0] = 3.0
    fine = torch.nn.functional.interpolate(other, (4, 4), mode="bilinear", align_corners=False)
    expected = float(torch.nn.functional.cosine_similarity(filters[0, 0].abs().flatten(), fine[0, 0].flatten(), dim=0))
    agreement = agreement_of(filters, other)
    assert 0.9 < float(agreement[0, 0]) < 1
    assert abs(float(agreement[0, 0]) - expected) < 1e-6
    assert float(agreement[0, 1]) == 0  # a map without any evidence agrees with nothing
