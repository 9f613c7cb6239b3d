"""Make `import torchvision` work where its compiled operators do not load.

Beside a torch from another build, torchvision's import fails with "operator torchvision::nms does not exist". The
models need none of its compiled operators, so declaring the two that the import looks for is enough.
"""

import importlib
import logging
import sys
import threading
from types import ModuleType
from typing import Final

import torch

logger = logging.getLogger("l2caf")
_lock = threading.Lock()

# The signatures torchvision registers itself; only their existence matters for importing it.
DECLARATIONS: Final = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_torchvision(module: str = "torchvision") -> ModuleType:
    """Import torchvision, and declare its operators if that is what its import lacks.

    Args:
        module: torchvision, or one of its modules, such as `torchvision.models.feature_extraction`.

    Returns:
        The module. A healthy installation is left alone; a repaired one is reported once on the log.

    Raises:
        RuntimeError: if torchvision cannot be imported for another reason.
    """
    with _lock:
        try:
            return importlib.import_module(module)
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        for name, schema in DECLARATIONS.items():
            torch.library.define(name, schema)
        logger.warning(
            "torchvision's compiled operators do not fit this torch; its models work, boxes (nms, roi_align) do not"
        )
        return importlib.import_module(module)
