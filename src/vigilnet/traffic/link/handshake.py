"""The link handshake, both sides (docs/spec/link.md sections 2 to 4; sans-IO).

    initiator                                     responder
    hello, message 1 (e, es, e1)          --->
                                          <---    RETRY, when loaded: then once more, with a fresh e
                                          <---    message 2 (e, ee, ekem1; its clock)
    message 3 (s, se; its record or none) --->

Each side takes packets and `now`, gives octets to send, and has a `result` in the end.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.kdf import is_equal
from vigilnet.crypto.noise import DH_SIZE, Ephemerals, NoiseHandshake, Pattern, SessionKeys, SystemEphemerals
from vigilnet.traffic.link.admission import Admission, Ticket
from vigilnet.traffic.link.neighbours import LinkRecord
from vigilnet.traffic.link.puzzle import Solver, puzzle_target
from vigilnet.traffic.link.wire import (
    SEED_HEAD_SIZE,
    Hello,
    LinkSuite,
    PacketKind,
    PuzzleKind,
    Retry,
    decode_hello,
    decode_retry,
    encode_packet,
    handshake_prologue,
)
from vigilnet.traffic.transport.carrier import CarrierKind

SOLVE_SLICE: Final = 2048  # our choice: tries per turn of the loop, about 2 ms

_CLOCK: Final = struct.Struct(">Q")


@dataclass(frozen=True)
class Channel:
    """The carrier as the handshake sees it; all of it enters the prologue.

    `kem` is the initiator's ML-KEM key that the carrier has shown already, if it has: the private half at the
    initiator, the public one at the responder.
    """

    kind: CarrierKind
    binding: bytes
    network: str = ""
    kem: MLKEM768PrivateKey | MLKEM768PublicKey | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class HandshakeResult:
    """What a finished handshake says about the link."""

    keys: SessionKeys
    suite: Suite
    is_initiator: bool
    peer: bytes | None  # None: a client that gave no identity
    record: LinkRecord | None = None  # responder's side: what the initiator showed
    clock_ms: int | None = None  # initiator's side: the responder's clock


class _OneUse:
    """Hands out an ephemeral key that was made before the hello was final, once."""

    def __init__(self, e: X25519PrivateKey, source: Ephemerals) -> None:
        self._e: X25519PrivateKey | None = e
        self._source = source

    def dh_key(self) -> X25519PrivateKey:
        """Return the prepared key."""
        e, self._e = self._e, None
        if e is None:
            raise LocalProtocolError("link handshake: an ephemeral key asked for twice")
        return e

    def kem_key(self) -> MLKEM768PrivateKey:
        """Return a fresh ML-KEM-768 key."""
        return self._source.kem_key()

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        """Return (shared secret, ciphertext) for `public`."""
        return self._source.encapsulate(public)


class Initiator:
    """The dialling side.

    Args:
        suite: the responder's preferred one, from its signed record.
        link_key: our static key; a client's is fresh per session and guard.
        record: our own encoded record, empty for an anonymous client.
        responder: the responder's identity, 32 octets.
        responder_key: the responder's link key from its record.
        channel: the carrier.
        ephemerals: source of single-use keys.

    Raises:
        RemoteProtocolError: the responder's key is our own.
    """

    def __init__(
        self,
        suite: LinkSuite,
        link_key: X25519PrivateKey,
        record: bytes,
        *,
        responder: bytes,
        responder_key: bytes,
        channel: Channel,
        ephemerals: Ephemerals | None = None,
    ) -> None:
        if is_equal(link_key.public_key().public_bytes_raw(), responder_key):
            raise RemoteProtocolError("link handshake: the record's link key is our own")
        self._suite = replace(suite, knows_kem=suite.pattern is Pattern.XK_HFS and channel.kem is not None)
        self._link_key = link_key
        self._record = record
        self._responder = responder
        self._responder_key = responder_key
        self._channel = channel
        self._ephemerals: Ephemerals = ephemerals or SystemEphemerals()
        self._noise: NoiseHandshake | None = None
        self._retry: Retry | None = None
        self._solver: Solver | None = None
        self._e: X25519PrivateKey | None = None
        self.result: HandshakeResult | None = None

    @property
    def is_solving(self) -> bool:
        """Whether `solve` wants to be called again."""
        return self._solver is not None

    def start(self) -> bytes:
        """Return the first packet."""
        return self._hello(Hello(self._suite), self._ephemerals.dh_key())

    def packet_received(self, kind: PacketKind, body: bytes, now: float) -> bytes:
        """Take the responder's next packet; return what to send, maybe nothing."""
        del now  # the responder's side needs it
        if self._noise is None or self.result is not None:
            raise RemoteProtocolError(f"link handshake: packet {kind.name} out of turn")
        if kind is PacketKind.RETRY and self._retry is None:
            return self._take_retry(decode_retry(body))
        if kind is not PacketKind.MESSAGE_2:
            raise RemoteProtocolError(f"link handshake: packet {kind.name}, message 2 expected")
        payload = self._noise.read_message(body)
        if len(payload) != _CLOCK.size:
            raise RemoteProtocolError(f"link handshake: payload 2 of {len(payload)} octets, 8 expected")
        message = self._noise.write_message(self._record)
        self.result = HandshakeResult(
            self._noise.finish(),
            self._suite.aead,
            is_initiator=True,
            peer=self._responder,
            clock_ms=_CLOCK.unpack(payload)[0],
        )
        self._noise = None
        return encode_packet(PacketKind.MESSAGE_3, message)

    def solve(self, tries: int = SOLVE_SLICE) -> bytes:
        """Work on the puzzle for a while; return the packet to send once it is solved."""
        if self._solver is None or self._retry is None or self._e is None:
            raise LocalProtocolError("link handshake: no puzzle to solve")
        nonce = self._solver.search(tries)
        if nonce is None:
            return b""
        self._solver = None
        solution = self._retry.seed[:SEED_HEAD_SIZE] + nonce
        return self._hello(Hello(self._suite, self._retry.cookie, solution), self._e)

    def _take_retry(self, retry: Retry) -> bytes:
        self._retry = retry
        self._noise = None  # one e under one hello: the first message 1 is never completed
        self._e = self._ephemerals.dh_key()
        if retry.puzzle is PuzzleKind.NONE:
            return self._hello(Hello(self._suite, retry.cookie), self._e)
        public = self._e.public_key().public_bytes_raw()
        target = puzzle_target(self._responder, retry.cookie, public, self._channel.network)
        self._solver = Solver(target, retry.seed, retry.effort)
        return b""

    def _hello(self, hello: Hello, e: X25519PrivateKey) -> bytes:
        encoded = hello.encode()
        channel = self._channel
        self._e = None
        self._noise = NoiseHandshake(
            self._suite.pattern,
            self._suite.aead,
            initiator=True,
            prologue=handshake_prologue(
                encoded, channel.kind, channel.binding, self._responder, channel.network
            ),
            remote_static=self._responder_key,
            local_static=self._link_key,
            ephemerals=_OneUse(e, self._ephemerals),
            known_kem=channel.kem if self._suite.knows_kem else None,
        )
        return encode_packet(PacketKind.HELLO, encoded + self._noise.write_message())


class Responder:
    """The answering side.

    Args:
        identity: our identity, 32 octets.
        link_key: our static key.
        previous_key: the static key before it, while records that name it may be current.
        channel: the carrier.
        admission: the node's rules about floods.
        ticket: this handshake's place there.
        admit: checks an initiator's encoded record (signature, times, work) and returns it decoded,
            or raises RemoteProtocolError.
        wall_minus_now: what to add to `now` for seconds since 1970.
        allow_classical: whether suites without ML-KEM are taken.
        ephemerals: source of single-use keys.
    """

    is_solving: Final = False

    def __init__(
        self,
        identity: bytes,
        link_key: X25519PrivateKey,
        *,
        channel: Channel,
        admission: Admission,
        ticket: Ticket,
        admit: Callable[[bytes], LinkRecord],
        wall_minus_now: float,
        previous_key: X25519PrivateKey | None = None,
        allow_classical: bool = False,
        ephemerals: Ephemerals | None = None,
    ) -> None:
        self._identity = identity
        self._link_keys = (link_key,) if previous_key is None else (link_key, previous_key)
        self._channel = channel
        self._admission = admission
        self._ticket = ticket
        self._admit = admit
        self._wall_minus_now = wall_minus_now
        self._allow_classical = allow_classical
        self._ephemerals = ephemerals
        self._hellos = 0
        self._suite: LinkSuite | None = None
        self._noise: NoiseHandshake | None = None
        self.result: HandshakeResult | None = None

    def start(self) -> bytes:
        """Nothing: the initiator speaks first."""
        return b""

    def solve(self, tries: int = SOLVE_SLICE) -> bytes:
        """Never called: only initiators solve."""
        raise LocalProtocolError(f"link handshake: a responder solves nothing ({tries} tries)")

    def packet_received(self, kind: PacketKind, body: bytes, now: float) -> bytes:
        """Take the initiator's next packet; return what to send, maybe nothing."""
        if kind is PacketKind.HELLO and self._noise is None and self.result is None and self._hellos < 2:
            self._hellos += 1
            return self._take_hello(body, now)
        if kind is PacketKind.MESSAGE_3 and self._noise is not None:
            return self._take_message_3(self._noise, body)
        raise RemoteProtocolError(f"link handshake: packet {kind.name} out of turn")

    def _take_hello(self, body: bytes, now: float) -> bytes:
        hello, end = decode_hello(body)
        if hello.suite.pattern is Pattern.XK and not self._allow_classical:
            raise RemoteProtocolError(f"link hello: classical suite {hello.suite.octet:#04x} is not allowed")
        if hello.suite.knows_kem and self._channel.kem is None:
            raise RemoteProtocolError("link hello: this carrier has shown no ML-KEM key")
        message = body[end:]
        if len(message) < DH_SIZE:
            raise RemoteProtocolError(f"link handshake: message 1 of {len(message)} octets")
        retry = self._admission.judge(self._ticket, hello, message[:DH_SIZE], self._channel.kind, now)
        if retry is not None:
            return encode_packet(PacketKind.RETRY, retry.encode())
        noise = self._read_message_1(hello.suite, body[:end], message)
        self._suite = hello.suite
        self._noise = noise
        clock_ms = int((now + self._wall_minus_now) * 1000)
        return encode_packet(PacketKind.MESSAGE_2, noise.write_message(_CLOCK.pack(max(0, clock_ms))))

    def _read_message_1(self, suite: LinkSuite, hello: bytes, message: bytes) -> NoiseHandshake:
        """Read message 1 with the key it was made for.

        Every key is tried, also behind the right one: how long we take must not tell which it was.
        """
        channel = self._channel
        prologue = handshake_prologue(hello, channel.kind, channel.binding, self._identity, channel.network)
        read: list[NoiseHandshake] = []
        refusal = RemoteProtocolError("link handshake: payload 1 is not empty")
        for key in self._link_keys:
            noise = NoiseHandshake(
                suite.pattern,
                suite.aead,
                initiator=False,
                prologue=prologue,
                local_static=key,
                ephemerals=self._ephemerals,
                known_kem=channel.kem if suite.knows_kem else None,
            )
            try:
                if not noise.read_message(message):
                    read.append(noise)
            except RemoteProtocolError as error:
                refusal = error
        if not read:
            raise refusal
        return read[0]

    def _take_message_3(self, noise: NoiseHandshake, body: bytes) -> bytes:
        payload = noise.read_message(body)
        static = noise.remote_static
        if static is None or self._suite is None:
            raise LocalProtocolError("link handshake: message 3 without a static key")
        if any(is_equal(static, key.public_key().public_bytes_raw()) for key in self._link_keys):
            raise RemoteProtocolError("link handshake: the initiator's key is our own")
        record = self._admit(payload) if payload else None
        if record is not None:
            if not is_equal(record.link_key, static):
                raise RemoteProtocolError("link handshake: the record names another link key")
            if record.identity == self._identity:
                raise RemoteProtocolError("link handshake: the initiator's identity is our own")
        self.result = HandshakeResult(
            noise.finish(),
            self._suite.aead,
            is_initiator=False,
            peer=None if record is None else record.identity,
            record=record,
        )
        self._noise = None
        return b""
