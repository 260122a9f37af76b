"""Retry tokens: whoever shows one hears what we send to its address (RFC 9000 section 8.1; sans-IO).

nonce 12 ‖ AES-GCM(key of this run, nonce, u64 time in s ‖ u8 n ‖ first id n ‖ second id, ad = address)
"""

from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LIFE_S: Final = 10
_NONCE: Final = 12


class RetryTokens:
    """Makes and checks tokens, as the QUIC package asks for it.

    Args:
        random_bytes: source of the key and of nonces.
        now: monotonic seconds.
    """

    def __init__(self, random_bytes: Callable[[int], bytes], now: Callable[[], float]) -> None:
        self._aead = AESGCM(random_bytes(16))
        self._random_bytes = random_bytes
        self._now = now

    def create_token(self, addr: Any, first: bytes, second: bytes) -> bytes:  # noqa: ANN401 the package's
        """Return a token for this address and the two connection ids."""
        nonce = self._random_bytes(_NONCE)
        plain = int(self._now()).to_bytes(8) + bytes((len(first),)) + first + second
        return nonce + self._aead.encrypt(nonce, plain, _address(addr))

    def validate_token(self, addr: Any, token: bytes) -> tuple[bytes, bytes]:  # noqa: ANN401
        """Return the two connection ids.

        Raises:
            ValueError: not ours, of another address, or too old.
        """
        try:
            plain = self._aead.decrypt(token[:_NONCE], token[_NONCE:], _address(addr))
        except (InvalidTag, ValueError):
            raise ValueError("retry token: not ours") from None
        if not 0 <= int(self._now()) - int.from_bytes(plain[:8]) <= LIFE_S:
            raise ValueError("retry token: too old")
        end = 9 + plain[8]
        return plain[9:end], plain[end:]


def _address(addr: Any) -> bytes:  # noqa: ANN401
    return f"{addr[0]} {addr[1]}".encode()
