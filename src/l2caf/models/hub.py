"""The Hugging Face hub, from which timm's weights come, on machines that cannot reach it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from l2caf.extras import require

CONNECT_S: Final = 3.0  # the hub's own client tries again for a minute


@contextmanager
def only_cache_if_unreachable() -> Iterator[None]:
    """Ask only the hub's cache on this machine while the hub itself does not answer within 3 seconds."""
    settings = vars(require("huggingface_hub.constants", extra="timm"))
    before = settings["HF_HUB_OFFLINE"]
    try:
        with socket.create_connection((urlsplit(settings["ENDPOINT"]).hostname or "", 443), timeout=CONNECT_S):
            pass
    except OSError:
        settings["HF_HUB_OFFLINE"] = True
    try:
        yield
    finally:
        settings["HF_HUB_OFFLINE"] = before
