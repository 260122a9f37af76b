"""Fuzz targets of the crypto room: every handshake message, at the side that reads it."""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.noise import NoiseHandshake, Pattern


class _Fixed:
    """The same ephemerals each time, so that a run can be repeated; encapsulation stays random."""

    def __init__(self, octet: int) -> None:
        self._octet = bytes([octet])

    def dh_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._octet * 32)

    def kem_key(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self._octet * 64)

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        return public.encapsulate()


_STATIC = X25519PrivateKey.from_private_bytes(b"\x05" * 32)
_CLIENT = X25519PrivateKey.from_private_bytes(b"\x06" * 32)


def _sides(pattern: Pattern) -> tuple[NoiseHandshake, NoiseHandshake]:
    psk = b"\x07" * 32 if pattern is Pattern.XK_HFS_PSK0 else None
    initiator = NoiseHandshake(
        pattern,
        Suite.AES_256_GCM,
        initiator=True,
        prologue=b"fuzz",
        remote_static=_STATIC.public_key().public_bytes_raw(),
        local_static=_CLIENT,
        psk=psk,
        ephemerals=_Fixed(1),
    )
    responder = NoiseHandshake(
        pattern,
        Suite.AES_256_GCM,
        initiator=False,
        prologue=b"fuzz",
        local_static=_STATIC,
        psk=psk,
        ephemerals=_Fixed(2),
    )
    return initiator, responder


def _upto(pattern: Pattern, number: int) -> tuple[NoiseHandshake, bytes]:
    """Who reads message `number`, all before it done, and the genuine message."""
    writer, reader = _sides(pattern)
    for _ in range(number):
        reader.read_message(writer.write_message())
        writer, reader = reader, writer
    return reader, writer.write_message()


def _target(pattern: Pattern, number: int) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        reader, genuine = _upto(pattern, number)
        try:
            reader.read_message(data)
        except RemoteProtocolError:
            return
        if number == 0 and data != genuine:
            raise AssertionError("a message that was never sent is accepted")

    return run


_CASES = [(pattern, number) for pattern in Pattern for number in range(2 if pattern is Pattern.NK_HFS else 3)]
TARGETS: dict[str, Callable[[bytes], None]] = {
    f"noise_{pattern.name.lower()}_{number + 1}": _target(pattern, number) for pattern, number in _CASES
}
SEEDS: dict[str, list[bytes]] = {
    f"noise_{pattern.name.lower()}_{number + 1}": [_upto(pattern, number)[1]] for pattern, number in _CASES
}
