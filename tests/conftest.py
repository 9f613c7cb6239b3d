"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("l2caf", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("l2caf")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real weights and pictures that lie beside the project; the test is skipped where they do not."""
    here = Path(__file__).parents[1]
    folder = Path(os.environ.get("L2CAF_SHARED_DATA", here.parent / "shared" / "data"))
    if not (folder / "reference_filters.npz").is_file():
        pytest.skip(f"no shared data at {folder} (set L2CAF_SHARED_DATA)")
    return folder
