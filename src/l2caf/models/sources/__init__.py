"""The sources that l2caf knows, one a file, in the order in which a name without a prefix is looked for in them."""

from l2caf.models.sources import python, embedded, wsol, retrieval, torchvision, timm, hf  # isort: skip

__all__ = ["embedded", "hf", "python", "retrieval", "timm", "torchvision", "wsol"]
