"""A second link handshake for suites 0x41 and 0x42, from docs/spec alone: link.md 2 and 3, crypto.md 3.

It shares no code with the program: what it agrees on with it, the pages say. It has no floods, no retries and
no records; a fault is an exception of any kind.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

CIPHERTEXT = 1088
NAMES = {
    0x41: b"Noise_XKhfs+ek_25519+MLKEM768_ChaChaPoly_SHA256",
    0x42: b"Noise_XKhfs+ek_25519+MLKEM768_AESGCM_SHA256",
}


def kem_share(client_hello: bytes) -> bytes:
    """Return the ML-KEM key in a ClientHello, a whole message, by RFC 8446's layout alone."""
    at = 4 + 2 + 32
    at += 1 + client_hello[at]
    at += 2 + int.from_bytes(client_hello[at : at + 2])
    at += 1 + client_hello[at]
    at += 2
    while at < len(client_hello):
        kind, size = int.from_bytes(client_hello[at : at + 2]), int.from_bytes(client_hello[at + 2 : at + 4])
        if kind == 51:
            share, end = at + 6, at + 4 + size
            while share < end:
                group, length = (int.from_bytes(client_hello[share + n : share + n + 2]) for n in (0, 2))
                if group == 0x11EC:
                    return client_hello[share + 4 : share + 4 + 1184]
                share += 4 + length
        at += 4 + size
    raise ValueError("no share of X25519MLKEM768")


def binding(client_hello: bytes, server_hello: bytes) -> bytes:
    """Return what binds a link to its carrier HTX."""
    return hashlib.sha256(client_hello + server_hello).digest()


def packet(kind: int, body: bytes) -> bytes:
    return (1 + len(body)).to_bytes(2) + bytes((kind,)) + body


def body_of(octets: bytes, kind: int) -> bytes:
    """Return what is in the one packet that these octets are."""
    assert int.from_bytes(octets[:2]) == len(octets) - 2
    assert octets[2] == kind
    return octets[3:]


def _raw(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


class SecondLink:
    """One side's handshake state.

    Args:
        suite: 0x41 or 0x42.
        carrier: its code.
        bound: the binding.
        responder: the responder's identity.
        responder_key: its link key.
        kem_public: the initiator's ML-KEM key as the carrier has shown it.
    """

    def __init__(
        self,
        suite: int,
        carrier: int,
        bound: bytes,
        responder: bytes,
        responder_key: bytes,
        kem_public: bytes,
    ) -> None:
        self.hello = bytes((1, suite, 0, 0))
        self._is_aes = suite == 0x42
        name, label = NAMES[suite], b"vigilnet v1 link"
        self._h = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self._ck, self._k, self._n = self._h, b"", 0
        prologue = len(label).to_bytes(2) + label + len(self.hello).to_bytes(2) + self.hello
        self._mix_hash(prologue + bytes((carrier,)) + bound + responder)
        self._mix_hash(responder_key)
        self._mix_hash(kem_public)
        self._responder_key = X25519PublicKey.from_public_bytes(responder_key)
        self._kem_public = MLKEM768PublicKey.from_public_bytes(kem_public)
        self.keys = (b"", b"")  # initiator's, responder's

    # --- Noise's symmetric state ----------------------------------------------------------------

    def _mix_hash(self, data: bytes) -> None:
        self._h = hashlib.sha256(self._h + data).digest()

    def _hkdf(self, secret: bytes) -> tuple[bytes, bytes]:
        key = hmac.digest(self._ck, secret, "sha256")
        first = hmac.digest(key, b"\1", "sha256")
        return first, hmac.digest(key, first + b"\2", "sha256")

    def _mix_key(self, secret: bytes) -> None:
        self._ck, self._k = self._hkdf(secret)
        self._n = 0

    def _nonce(self) -> bytes:
        self._n += 1
        return bytes(4) + (self._n - 1).to_bytes(8, "big" if self._is_aes else "little")

    def _cipher(self) -> AESGCM | ChaCha20Poly1305:
        return AESGCM(self._k) if self._is_aes else ChaCha20Poly1305(self._k)

    def _seal(self, plain: bytes) -> bytes:
        sealed = self._cipher().encrypt(self._nonce(), plain, self._h)
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plain = self._cipher().decrypt(self._nonce(), sealed, self._h)
        self._mix_hash(sealed)
        return plain

    def _split(self) -> None:
        self.keys = self._hkdf(b"")

    @property
    def handshake_hash(self) -> bytes:
        return self._h

    # --- the initiator ---------------------------------------------------------------------------

    def say_hello(self) -> bytes:
        """-> e, es"""
        self._e = X25519PrivateKey.generate()
        self._mix_hash(_raw(self._e))
        self._mix_key(self._e.exchange(self._responder_key))
        return packet(1, self.hello + _raw(self._e) + self._seal(b""))

    def finish(self, octets: bytes, kem: MLKEM768PrivateKey, static: X25519PrivateKey) -> tuple[bytes, int]:
        """<- e, ee, ekem1, -> s, se; return message 3 and the responder's clock in ms."""
        message = body_of(octets, 3)
        theirs = X25519PublicKey.from_public_bytes(message[:32])
        self._mix_hash(message[:32])
        self._mix_key(self._e.exchange(theirs))
        end = 32 + CIPHERTEXT + 16
        self._mix_key(kem.decapsulate(self._open(message[32:end])))
        clock = int.from_bytes(self._open(message[end:]))
        said = self._seal(_raw(static))
        self._mix_key(static.exchange(theirs))
        said += self._seal(b"")
        self._split()
        return packet(4, said), clock

    # --- the responder ---------------------------------------------------------------------------

    def answer(self, octets: bytes, static: X25519PrivateKey, clock_ms: int) -> bytes:
        """-> e, es, <- e, ee, ekem1"""
        message = body_of(octets, 1)
        assert message[:4] == self.hello
        assert len(message) == 4 + 48
        theirs = X25519PublicKey.from_public_bytes(message[4:36])
        self._mix_hash(message[4:36])
        self._mix_key(static.exchange(theirs))
        assert self._open(message[36:]) == b""
        self._e = X25519PrivateKey.generate()
        self._mix_hash(_raw(self._e))
        self._mix_key(self._e.exchange(theirs))
        secret, ciphertext = self._kem_public.encapsulate()
        said = _raw(self._e) + self._seal(ciphertext)
        self._mix_key(secret)
        return packet(3, said + self._seal(clock_ms.to_bytes(8)))

    def take_last(self, octets: bytes) -> bytes:
        """-> s, se; return the initiator's static key."""
        message = body_of(octets, 4)
        static = self._open(message[:48])
        self._mix_key(self._e.exchange(X25519PublicKey.from_public_bytes(static)))
        assert self._open(message[48:]) == b""
        self._split()
        return static
