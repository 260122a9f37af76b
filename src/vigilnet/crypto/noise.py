"""Noise handshakes (revision 34) with the hybrid forward secrecy extension (noise_hfs revision 1).

One state machine serves links (`XKhfs`, `XK`), circuits (`NKhfs`) and circles (`XKhfs+psk0`).
DH is X25519, the KEM is an ephemeral ML-KEM-768, the hash SHA-256. `e1` and the KEM's ciphertext
travel through EncryptAndHash like a static key. Where the responder has the initiator's ML-KEM key
already, it is a pre-message (`+ek` in the name) and `e1` is left out. Sans-IO; keys are single use.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import TAG_SIZE, Aead, Suite, new_aead, noise_nonce
from vigilnet.crypto.kdf import HASH_SIZE, noise_hkdf, sha256

DH_SIZE: Final = 32
KEM_PUBLIC_SIZE: Final = 1184
KEM_CIPHERTEXT_SIZE: Final = 1088

_SUITE_NAMES: Final = {Suite.CHACHA20_POLY1305: "ChaChaPoly", Suite.AES_256_GCM: "AESGCM"}
_MESSAGES: Final = {
    "XK": (("e", "es"), ("e", "ee"), ("s", "se")),
    "XKhfs": (("e", "es", "e1"), ("e", "ee", "ekem1"), ("s", "se")),
    "XKhfs+psk0": (("psk", "e", "es", "e1"), ("e", "ee", "ekem1"), ("s", "se")),
    "NKhfs": (("e", "es", "e1"), ("e", "ee", "ekem1")),
}


class Pattern(StrEnum):
    """The handshake patterns in use; in all of them the initiator knows the responder's static key."""

    XK = "XK"
    XK_HFS = "XKhfs"
    XK_HFS_PSK0 = "XKhfs+psk0"
    NK_HFS = "NKhfs"


def protocol_name(pattern: Pattern, suite: Suite, *, knows_kem: bool = False) -> str:
    """Return the full Noise name, as `Noise_XKhfs_25519+MLKEM768_AESGCM_SHA256`."""
    dh = "25519+MLKEM768" if "hfs" in pattern else "25519"
    return f"Noise_{pattern}{'+ek' * knows_kem}_{dh}_{_SUITE_NAMES[suite]}_SHA256"


class Ephemerals(Protocol):
    """Where one handshake's single-use keys come from; tests pass deterministic ones."""

    def dh_key(self) -> X25519PrivateKey:
        """Return a fresh X25519 key."""
        ...

    def kem_key(self) -> MLKEM768PrivateKey:
        """Return a fresh ML-KEM-768 key."""
        ...

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        """Return (shared secret, ciphertext) for `public`."""
        ...


class SystemEphemerals:
    """Fresh keys from the operating system's generator, through `cryptography`."""

    def dh_key(self) -> X25519PrivateKey:
        """Return a fresh X25519 key."""
        return X25519PrivateKey.generate()

    def kem_key(self) -> MLKEM768PrivateKey:
        """Return a fresh ML-KEM-768 key."""
        return MLKEM768PrivateKey.generate()

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        """Return (shared secret, ciphertext) for `public`."""
        return public.encapsulate()


class _SymmetricState:
    """CipherState and SymmetricState of Noise in one: ck, h, k and the counter n."""

    def __init__(self, name: str, suite: Suite) -> None:
        encoded = name.encode()
        self.h = encoded.ljust(HASH_SIZE, b"\0") if len(encoded) <= HASH_SIZE else sha256(encoded)
        self.ck = self.h
        self.suite = suite
        self.cipher: Aead | None = None
        self.n = 0

    def mix_hash(self, data: bytes) -> None:
        self.h = sha256(self.h, data)

    def mix_key(self, secret: bytes) -> None:
        self.ck, key = noise_hkdf(self.ck, secret, 2)
        self.cipher, self.n = new_aead(self.suite, key), 0

    def mix_key_and_hash(self, secret: bytes) -> None:
        self.ck, mixed, key = noise_hkdf(self.ck, secret, 3)
        self.mix_hash(mixed)
        self.cipher, self.n = new_aead(self.suite, key), 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sent = plaintext
        if self.cipher is not None:
            sent = self.cipher.encrypt(noise_nonce(self.suite, self.n), plaintext, self.h)
            self.n += 1
        self.mix_hash(sent)
        return sent

    def decrypt_and_hash(self, received: bytes) -> bytes:
        plaintext = received
        if self.cipher is not None:
            try:
                plaintext = self.cipher.decrypt(noise_nonce(self.suite, self.n), received, self.h)
            except InvalidTag as error:
                raise RemoteProtocolError("noise message: tag does not verify") from error
            self.n += 1
        self.mix_hash(received)
        return plaintext


@dataclass(frozen=True)
class SessionKeys:
    """What a finished handshake yields: one key per direction, and the hash of all that was said."""

    initiator_to_responder: bytes  # 32 octets
    responder_to_initiator: bytes  # 32 octets
    handshake_hash: bytes  # 32 octets, binds later messages to this very handshake


class NoiseHandshake:
    """One side of one handshake.

    Call `write_message` and `read_message` in turn (the initiator writes first) until `is_finished`,
    then `finish` once. A failed `read_message` leaves the object unusable: drop it.

    Args:
        pattern: which handshake; see `Pattern`.
        suite: AEAD of the handshake.
        initiator: whether we write the first message.
        prologue: octets that both sides must agree on.
        remote_static: the responder's static public key, 32 octets; initiators must give it.
        local_static: our static key; needed by responders, and by initiators of XK patterns.
        psk: 32 octets for `psk0`, else None.
        ephemerals: source of single-use keys.
        known_kem: the initiator's ephemeral ML-KEM key, where the responder knows it before message 1: its
            private half at the initiator, its public half at the responder. Message 1 has no `e1` then.
    """

    def __init__(
        self,
        pattern: Pattern,
        suite: Suite,
        *,
        initiator: bool,
        prologue: bytes,
        remote_static: bytes | None = None,
        local_static: X25519PrivateKey | None = None,
        psk: bytes | None = None,
        ephemerals: Ephemerals | None = None,
        known_kem: MLKEM768PrivateKey | MLKEM768PublicKey | None = None,
    ) -> None:
        self._messages = _MESSAGES[pattern]
        if known_kem is not None:
            self._messages = tuple(tuple(t for t in tokens if t != "e1") for tokens in self._messages)
        self._initiator = initiator
        self._next = 0
        self._psk = psk
        self._ephemerals: Ephemerals = ephemerals or SystemEphemerals()
        self._s = local_static
        self._e: X25519PrivateKey | None = None
        self._e1: MLKEM768PrivateKey | None = None
        self._rs = remote_static
        self._re = b""
        self._re1: MLKEM768PublicKey | None = None
        name = protocol_name(pattern, suite, knows_kem=known_kem is not None)
        self._state = _SymmetricState(name, suite)
        self._state.mix_hash(prologue)
        if initiator:
            if remote_static is None:
                raise LocalProtocolError("noise handshake: an initiator needs the responder's static key")
            self._state.mix_hash(remote_static)
        else:
            if local_static is None:
                raise LocalProtocolError("noise handshake: a responder needs its static key")
            self._state.mix_hash(local_static.public_key().public_bytes_raw())
        if known_kem is not None:
            self._know(known_kem)

    def _know(self, kem: MLKEM768PrivateKey | MLKEM768PublicKey) -> None:
        """Take e1 as a pre-message."""
        if isinstance(kem, MLKEM768PrivateKey) != self._initiator:
            raise LocalProtocolError(
                "noise handshake: the initiator has the private half, the responder the other"
            )
        public = kem.public_key() if isinstance(kem, MLKEM768PrivateKey) else kem
        if isinstance(kem, MLKEM768PrivateKey):
            self._e1 = kem
        else:
            self._re1 = kem
        self._state.mix_hash(public.public_bytes_raw())

    @property
    def is_finished(self) -> bool:
        """Whether all messages were exchanged."""
        return self._next == len(self._messages)

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static public key, once known."""
        return self._rs

    def write_message(self, payload: bytes = b"") -> bytes:
        """Return the next message with `payload` inside.

        Raises:
            RemoteProtocolError: the other side's key is degenerate, as the one in its record may be.
        """
        self._check_turn(writing=True)
        try:
            out = [self._write_token(token) for token in self._messages[self._next]]
        except ValueError as error:  # all-zero DH result
            raise RemoteProtocolError("noise message: degenerate key of the other side") from error
        out.append(self._state.encrypt_and_hash(payload))
        self._next += 1
        return b"".join(out)

    def read_message(self, message: bytes) -> bytes:
        """Take the next message and return its payload.

        Raises:
            RemoteProtocolError: too short, forged, or a degenerate key inside.
        """
        self._check_turn(writing=False)
        rest = bytes(message)
        try:
            for token in self._messages[self._next]:
                rest = self._read_token(token, rest)
            payload = self._state.decrypt_and_hash(rest)
        except ValueError as error:  # all-zero DH result, malformed ML-KEM key or ciphertext
            raise RemoteProtocolError("noise message: degenerate key") from error
        self._next += 1
        return payload

    def finish(self) -> SessionKeys:
        """Return the session's keys and erase the handshake's own."""
        if not self.is_finished:
            raise LocalProtocolError("noise handshake: finish before the last message")
        first, second = noise_hkdf(self._state.ck, b"", 2)
        keys = SessionKeys(first, second, self._state.h)
        self._e = self._e1 = self._re1 = self._s = self._psk = None
        self._state.cipher = None
        self._state.ck = b""
        return keys

    def _check_turn(self, *, writing: bool) -> None:
        if self.is_finished or (self._next % 2 == 0) != (self._initiator == writing):
            raise LocalProtocolError(
                "noise handshake: not our turn" if writing else "noise handshake: not the peer's turn"
            )

    def _write_token(self, token: str) -> bytes:
        state = self._state
        if token == "e":  # noqa: S105 a Noise token
            self._e = self._ephemerals.dh_key()
            public = self._e.public_key().public_bytes_raw()
            self._mix_ephemeral(public)
            return public
        if token == "e1":  # noqa: S105
            self._e1 = self._ephemerals.kem_key()
            return state.encrypt_and_hash(self._e1.public_key().public_bytes_raw())
        if token == "ekem1":  # noqa: S105
            if self._re1 is None:
                raise LocalProtocolError("noise handshake: ekem1 before e1")
            secret, ciphertext = self._ephemerals.encapsulate(self._re1)
            sent = state.encrypt_and_hash(ciphertext)
            state.mix_key(secret)
            return sent
        if token == "s":  # noqa: S105
            if self._s is None:
                raise LocalProtocolError("noise handshake: no static key to send")
            return state.encrypt_and_hash(self._s.public_key().public_bytes_raw())
        self._mix_secret(token)
        return b""

    def _read_token(self, token: str, rest: bytes) -> bytes:
        state = self._state
        if token == "e":  # noqa: S105
            self._re, rest = _split(rest, DH_SIZE)
            self._mix_ephemeral(self._re)
        elif token == "e1":  # noqa: S105
            sealed, rest = _split(rest, KEM_PUBLIC_SIZE + TAG_SIZE)
            self._re1 = MLKEM768PublicKey.from_public_bytes(state.decrypt_and_hash(sealed))
        elif token == "ekem1":  # noqa: S105
            sealed, rest = _split(rest, KEM_CIPHERTEXT_SIZE + TAG_SIZE)
            if self._e1 is None:
                raise LocalProtocolError("noise handshake: ekem1 before e1")
            state.mix_key(self._e1.decapsulate(state.decrypt_and_hash(sealed)))
        elif token == "s":  # noqa: S105
            sealed, rest = _split(rest, DH_SIZE + TAG_SIZE)
            self._rs = state.decrypt_and_hash(sealed)
        else:
            self._mix_secret(token)
        return rest

    def _mix_ephemeral(self, public: bytes) -> None:
        self._state.mix_hash(public)
        if self._psk is not None:  # Noise revision 34 section 9.2
            self._state.mix_key(public)

    def _mix_secret(self, token: str) -> None:
        if token == "psk":  # noqa: S105
            if self._psk is None:
                raise LocalProtocolError("noise handshake: no pre-shared key")
            self._state.mix_key_and_hash(self._psk)
            return
        # "es": the initiator's e with the responder's s; "se" the other way round; "ee" both ephemeral.
        ours_is_ephemeral = token[0 if self._initiator else 1] == "e"
        theirs_is_ephemeral = token[1 if self._initiator else 0] == "e"
        ours = self._e if ours_is_ephemeral else self._s
        theirs = self._re if theirs_is_ephemeral else self._rs
        if ours is None or theirs is None:
            raise LocalProtocolError(f"noise handshake: key missing for {token}")
        self._state.mix_key(ours.exchange(X25519PublicKey.from_public_bytes(theirs)))


def _split(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise RemoteProtocolError(f"noise message: {len(data)} octets left, a field of {size} expected")
    return data[:size], data[size:]
