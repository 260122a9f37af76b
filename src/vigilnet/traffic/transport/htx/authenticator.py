"""What a client hides in `session_id`, and the keys after it (docs/spec/htx.md section 3).

    z           X25519(client's key share, relay's htx key)
    K | N       HKDF(z, salt client random, "vigilnet v1 htx authenticator", 32 + 12)
    session_id  AES-256-GCM(K, N, plaintext, ad = the ClientHello message with session_id zeroed)
    plaintext   u8 1 | u8 0 | u32 time | proof 8 | 0^2
    binding     SHA-256(ClientHello | ServerHello)
    c2s | s2c   HKDF(z, salt binding, "vigilnet v1 htx switch", 64)

Without the relay's secret a session id is 32 random octets, as browsers send.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import KEY_SIZE, NONCE_SIZE
from vigilnet.crypto.kdf import hkdf_expand, hkdf_extract, hmac_sha256, is_equal, sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.traffic.transport.htx.client_hello import (
    SESSION_ID_AT,
    X25519,
    X25519MLKEM768,
    ClientHello,
    decode_client_hello,
    without_ech_payload,
)

# From the specification.
VERSION: Final = 1
SESSION_ID_SIZE: Final = 32
PROOF_SIZE: Final = 8
DH_SIZE: Final = 32
WINDOW_S: Final = 90
REPLAY_S: Final = 180
MAX_REPLAYS: Final = 65_536
MAX_INVITES: Final = 256

_PLAIN: Final = struct.Struct(f">BBI{PROOF_SIZE}s2x")


def _key_and_nonce(shared: bytes, client_random: bytes, network: str) -> tuple[bytes, bytes]:
    label = label_octets(Label.HTX_AUTHENTICATOR, network)
    octets = hkdf_expand(hkdf_extract(client_random, shared), label, KEY_SIZE + NONCE_SIZE)
    return octets[:KEY_SIZE], octets[KEY_SIZE:]


def seal_session_id(
    shared: bytes, client_random: bytes, message: bytes, plaintext: bytes, network: str = ""
) -> bytes:
    """Return the session id for `message`, a ClientHello whose 32 octets of session id are zero.

    Seal once for each client random: a second hello after HelloRetryRequest keeps the first one's id.
    """
    end = SESSION_ID_AT + SESSION_ID_SIZE
    if any(message[SESSION_ID_AT:end]) or len(message) < end:
        raise LocalProtocolError("htx authenticator: the session id is not 32 zero octets")
    key, nonce = _key_and_nonce(shared, client_random, network)
    return AESGCM(key).encrypt(nonce, plaintext, message)


def open_session_id(shared: bytes, client_random: bytes, message: bytes, network: str = "") -> bytes | None:
    """Return the plaintext of the session id in `message`; None when it is none of ours."""
    end = SESSION_ID_AT + SESSION_ID_SIZE
    if len(message) < end:
        return None
    key, nonce = _key_and_nonce(shared, client_random, network)
    zeroed = message[:SESSION_ID_AT] + bytes(SESSION_ID_SIZE) + message[end:]
    try:
        return AESGCM(key).decrypt(nonce, message[SESSION_ID_AT:end], zeroed)
    except InvalidTag:
        return None


@dataclass(frozen=True)
class Stamp:
    """The plaintext of a session id."""

    time: int  # Unix seconds
    proof: bytes

    def encode(self) -> bytes:
        """Return its 16 octets."""
        return _PLAIN.pack(VERSION, 0, self.time, self.proof)


def decode_stamp(plaintext: bytes) -> Stamp:
    """Read a session id's plaintext.

    Raises:
        RemoteProtocolError: another version, or octets that must be zero are not.
    """
    if len(plaintext) != _PLAIN.size:
        raise RemoteProtocolError(f"htx stamp: {len(plaintext)} octets, {_PLAIN.size} expected")
    version, reserved, time, proof = _PLAIN.unpack(plaintext)
    if version != VERSION or reserved or any(plaintext[-2:]):
        raise RemoteProtocolError(f"htx stamp: version {version}, {VERSION} expected, or reserved octets set")
    return Stamp(time, proof)


def invite_proof(invite: bytes, client_random: bytes) -> bytes:
    """Return what shows an unlisted relay that the client holds its invite."""
    return hmac_sha256(invite, client_random)[:PROOF_SIZE]


def client_share(hello: ClientHello) -> bytes | None:
    """Return the X25519 public key that authenticates: the plain share, else the hybrid one's end."""
    shares = hello.key_shares
    if X25519 in shares:
        share = shares[X25519]
        return share if len(share) == DH_SIZE else None
    hybrid = shares.get(X25519MLKEM768, b"")
    return hybrid[-DH_SIZE:] if len(hybrid) > DH_SIZE else None


def binding_of(hellos: bytes, server_hello: bytes) -> bytes:
    """Return what ties a link to this very TLS handshake; all are whole messages with their heads.

    Args:
        hellos: the client's; where the origin asked for another one: the first, the request, and the second.
        server_hello: the origin's.
    """
    return sha256(hellos, server_hello)


def switch_keys(shared: bytes, binding: bytes, network: str = "") -> tuple[bytes, bytes]:
    """Return the keys (client to relay, relay to client) of the records that carry the link's handshake."""
    label = label_octets(Label.HTX_SWITCH, network)
    octets = hkdf_expand(hkdf_extract(binding, shared), label, 2 * KEY_SIZE)
    return octets[:KEY_SIZE], octets[KEY_SIZE:]


class ReplaySet:
    """Client randoms seen lately; the oldest make room."""

    def __init__(self, capacity: int = MAX_REPLAYS) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, client_random: bytes, now: float) -> bool:
        """Note a random; return False if it was there."""
        while self._seen and now - next(iter(self._seen.values())) >= REPLAY_S:
            self._seen.popitem(last=False)
        if client_random in self._seen:
            return False
        if len(self._seen) >= self._capacity:
            self._seen.popitem(last=False)
        self._seen[client_random] = now
        return True


class Authenticator:
    """The relay's side: tells our clients from everybody else.

    Args:
        secrets: our htx keys, current first; asked at every hello.
        network: the private network's name.
        invites: secrets of an unlisted relay's invites, 256 at most, asked at every hello: only who holds
            one is authentic. None: a listed relay.
    """

    def __init__(
        self,
        secrets: Callable[[], Sequence[X25519PrivateKey]],
        network: str = "",
        invites: Callable[[], Sequence[bytes]] | None = None,
    ) -> None:
        self._secrets = secrets
        self._network = network
        self._invites = invites
        self._replays = ReplaySet()

    def judge(self, message: bytes, wall: float, now: float) -> bytes | None:
        """Return z if `message`, a whole ClientHello, is from a client of ours; else None.

        Everything that fails is alike: no key share, a hello that is malformed, no authenticator, stale,
        without proof, or replayed.
        """
        try:
            hello = decode_client_hello(message)
            share = client_share(hello)
            if share is None or len(hello.session_id) != SESSION_ID_SIZE:
                return None
            return self._judge(message, hello, X25519PublicKey.from_public_bytes(share), wall, now)
        except RemoteProtocolError:
            return None

    def _judge(
        self, message: bytes, hello: ClientHello, share: X25519PublicKey, wall: float, now: float
    ) -> bytes | None:
        for secret in self._secrets():
            try:
                shared = secret.exchange(share)
            except ValueError:  # a share of small order
                return None
            plaintext = open_session_id(shared, hello.random, message, self._network)
            if plaintext is None and (zeroed := without_ech_payload(hello)) is not None:
                plaintext = open_session_id(shared, hello.random, zeroed, self._network)
            if plaintext is None:
                continue
            stamp = decode_stamp(plaintext)
            is_authentic = (
                abs(stamp.time - wall) <= WINDOW_S
                and self._is_invited(stamp, hello.random)
                and self._replays.add(hello.random, now)
            )
            return shared if is_authentic else None
        return None

    def _is_invited(self, stamp: Stamp, client_random: bytes) -> bool:
        if self._invites is None:
            return True
        invites = self._invites()[:MAX_INVITES]
        found = [is_equal(invite_proof(invite, client_random), stamp.proof) for invite in invites]
        return any(found)
