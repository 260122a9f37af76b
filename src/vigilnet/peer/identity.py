"""Who a node is: an Ed25519 key, its libp2p peer id, and libp2p's key file (docs/spec/peer.md section 1).

On the data path an identity is its 32 octets; the text form is for people:

    peer id = base58btc(0x00 0x24 ‖ 08 01 12 20 ‖ public key 32)          "12D3KooW..."
    key file = 08 01 12 40 ‖ seed 32 ‖ public key 32                       protobuf, libp2p specs peer-ids.md
"""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import is_equal

PUBLIC_SIZE: Final = 32
SEED_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {character: digit for digit, character in enumerate(_ALPHABET)}
PEER_ID_HEAD: Final = bytes.fromhex("0024 08011220")  # identity multihash of 36 octets; Ed25519, key of 32
_PEER_ID_LENGTH: Final = 52
_KEY_FILE_HEAD: Final = bytes.fromhex("08011240")  # field 1 varint 1 (Ed25519), field 2 with 64 octets
_OLD_KEY_FILE_HEAD: Final = bytes.fromhex("08011260")  # older libp2p repeats the public key: 96 octets


class Identity:
    """The private half of a node's identity."""

    __slots__ = ("_key", "peer_id", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()
        self.peer_id = peer_id_text(self.public)

    @classmethod
    def generate(cls) -> "Identity":
        """Make a new identity from the system's generator."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """Return the identity of a 32-octet seed."""
        if len(seed) != SEED_SIZE:
            raise LocalProtocolError(f"identity seed: {len(seed)} octets, expected {SEED_SIZE}")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_libp2p_protobuf(cls, data: bytes) -> "Identity":
        """Read libp2p's private key file.

        Raises:
            RemoteProtocolError: not such a file, another kind of key, or halves that do not fit.
        """
        data = bytes(data)
        head, body = data[:4], data[4:]
        if not (
            (head == _KEY_FILE_HEAD and len(body) == 64) or (head == _OLD_KEY_FILE_HEAD and len(body) == 96)
        ):
            raise RemoteProtocolError("libp2p key file: not an ed25519 private key of 64 or 96 octets")
        identity = cls.from_seed(body[:SEED_SIZE])
        if not is_equal(body[SEED_SIZE:], identity.public * (len(body) // 32 - 1)):
            raise RemoteProtocolError("libp2p key file: public key does not belong to the private one")
        return identity

    def to_libp2p_protobuf(self) -> bytes:
        """Return libp2p's private key file; secret."""
        return _KEY_FILE_HEAD + self.seed() + self.public

    def seed(self) -> bytes:
        """Return the 32 octets that the identity is made from; secret."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-octet signature over `message`, which must begin with a label and a zero octet."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "Identity([hidden])"


def is_signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is the Ed25519 signature of `public` over `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def peer_id_text(public: bytes) -> str:
    """Return the peer id of a 32-octet identity key, as people see it.

    >>> peer_id_text(bytes(32))
    '12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw'
    """
    if len(public) != PUBLIC_SIZE:
        raise LocalProtocolError(f"identity key: {len(public)} octets, expected {PUBLIC_SIZE}")
    number = int.from_bytes(PEER_ID_HEAD + public)
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" + text  # the leading zero octet


def parse_peer_id(text: str) -> bytes:
    """Return the 32-octet identity key of a peer id; each identity has exactly one text.

    Raises:
        RemoteProtocolError: not a peer id of an Ed25519 key.
    """
    if len(text) != _PEER_ID_LENGTH or not text.startswith("12D3KooW"):
        raise RemoteProtocolError(
            "peer id: not of an ed25519 key, which begins with 12D3KooW and has 52 letters"
        )
    number = 0
    for character in text:
        if character not in _DIGITS:
            raise RemoteProtocolError("peer id: a letter outside base58")
        number = number * 58 + _DIGITS[character]
    octets = number.to_bytes(_PEER_ID_LENGTH)
    head, public = octets[-38:-32], octets[-32:]
    if any(octets[:-38]) or head != PEER_ID_HEAD:
        raise RemoteProtocolError("peer id: not the identity multihash of an ed25519 key")
    return public
