import socket

import pytest
from huggingface_hub import constants

from l2caf.models.hub import only_cache_if_unreachable


@pytest.mark.parametrize("answers", [True, False])
def test_only_the_cache_is_asked_while_the_hub_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def connect(*_: object, **__: object) -> socket.socket:
        if not answers:
            raise TimeoutError
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    with only_cache_if_unreachable():
        assert constants.HF_HUB_OFFLINE is not answers
    assert constants.HF_HUB_OFFLINE is False


def test_the_hub_is_asked_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://localhost.invalid")
    with pytest.raises(RuntimeError, match="no weights"), only_cache_if_unreachable():
        raise RuntimeError("no weights")
    assert constants.HF_HUB_OFFLINE is False
