"""The Hugging Face hub, from which weights of timm and transformers come, on machines that cannot reach it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from l2caf.extras import require

CONNECT_S: Final = 3.0  # the hub's own client tries again for a minute


def is_reachable(*, extra: str) -> bool:
    """Whether the hub answers within 3 seconds and may be asked at all; `extra` is that of who asks."""
    settings = vars(require("huggingface_hub.constants", extra=extra))
    if settings["HF_HUB_OFFLINE"]:
        return False
    try:
        with socket.create_connection((urlsplit(settings["ENDPOINT"]).hostname or "", 443), timeout=CONNECT_S):
            return True
    except OSError:
        return False


@contextmanager
def only_cache_if_unreachable() -> Iterator[None]:
    """Ask only the hub's cache on this machine while the hub itself does not answer within 3 seconds."""
    settings = vars(require("huggingface_hub.constants", extra="timm"))
    before = settings["HF_HUB_OFFLINE"]
    settings["HF_HUB_OFFLINE"] = not is_reachable(extra="timm")
    try:
        yield
    finally:
        settings["HF_HUB_OFFLINE"] = before
