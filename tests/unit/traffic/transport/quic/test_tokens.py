import os

import pytest

from vigilnet.traffic.transport.quic.tokens import LIFE_S, RetryTokens

HERE = ("192.0.2.1", 5)


def test_a_token_holds_for_its_address_and_its_time() -> None:
    time = 100.0
    tokens = RetryTokens(os.urandom, lambda: time)
    token = tokens.create_token(HERE, b"first", b"second!")
    assert tokens.validate_token(HERE, token) == (b"first", b"second!")
    for address, shown in ((("192.0.2.1", 6), token), (HERE, token[:-1]), (HERE, b""), (HERE, bytes(60))):
        with pytest.raises(ValueError, match="not ours"):
            tokens.validate_token(address, shown)
    with pytest.raises(ValueError, match="not ours"):
        RetryTokens(os.urandom, lambda: time).validate_token(HERE, token)
    time += LIFE_S + 1
    with pytest.raises(ValueError, match="too old"):
        tokens.validate_token(HERE, token)
