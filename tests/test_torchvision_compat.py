import logging
import subprocess
import sys

import pytest

from l2caf.torchvision_compat import import_torchvision


def test_torchvision_is_imported_once_and_a_repair_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    import_torchvision()
    with caplog.at_level(logging.WARNING):
        assert import_torchvision().models.resnet18 is not None
    assert not caplog.records


def test_torchvision_imports_in_a_process_whose_operators_are_missing() -> None:
    script = (
        "import torch, sys; from l2caf.torchvision_compat import import_torchvision;"
        "m = import_torchvision().models.get_model('mobilenet_v3_small', weights=None).eval();"
        "print(tuple(m(torch.zeros(1, 3, 32, 32)).shape))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "(1, 1000)"
    assert done.stderr.count("operators do not fit") <= 1
