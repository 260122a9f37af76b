"""Fuzz targets of the link room: packets, hello, RETRY, both handshakes, frames of both shapes."""

import contextlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import FakeRecord, Gatherer, make_frame, seeded_random
from tests.support.pipes import pipes
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.framing import FrameOpener, FrameSealer, FrameType, KeyLimits
from vigilnet.traffic.link.handshake import Channel, Initiator, Responder
from vigilnet.traffic.link.machine import LinkMachine
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.parts import PartJoiner
from vigilnet.traffic.link.pipe import WINDOW, Arrived, PipeState
from vigilnet.traffic.link.wire import (
    Hello,
    PacketKind,
    PuzzleKind,
    Retry,
    decode_hello,
    decode_packet,
    decode_retry,
    encode_packet,
    link_suite,
)
from vigilnet.traffic.transport.carrier import CarrierKind

KEY = bytes(range(32))
HERE = b"responder".ljust(32)
CLIENT_KEY = X25519PrivateKey.from_private_bytes(b"c" * 32)
RELAY_KEY = X25519PrivateKey.from_private_bytes(b"r" * 32)
CHANNEL = Channel(CarrierKind.PLAIN, bytes(32))
ADMISSION = Admission(Options(), HERE, "", seeded_random("fuzz"), 0.0)


class _Owner:
    """A LinkOwner that takes everything."""

    def link_opened(self, _: object) -> Gatherer:
        return Gatherer()

    def gossip_received(self, body: bytes) -> None:
        assert body


def _packet(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        if (packet := decode_packet(data)) is not None:
            kind, body, size = packet
            assert encode_packet(kind, body) == data[:size]


def _hello(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        hello, end = decode_hello(data)
        assert hello.encode() == data[:end]


def _retry(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert decode_retry(data).encode() == data


def _initiator() -> Initiator:
    return Initiator(
        link_suite(2),
        CLIENT_KEY,
        b"",
        responder=HERE,
        responder_key=RELAY_KEY.public_key().public_bytes_raw(),
        channel=CHANNEL,
    )


def _responder() -> Responder:
    ticket = ADMISSION.enter("192.0.2.1", 0.0, lambda: None)
    assert ticket is not None
    ADMISSION.leave(ticket)
    return Responder(
        HERE,
        RELAY_KEY,
        channel=CHANNEL,
        admission=ADMISSION,
        ticket=ticket,
        admit=FakeRecord.admit,
        wall_minus_now=0.0,
        allow_classical=True,
    )


def _machine(make: Callable[[], Initiator | Responder]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        machine = LinkMachine(make(), _Owner(), Options(), has_tls_records=False, random_bytes=bytes, now=0.0)
        machine.data_to_send(0.0)
        with contextlib.suppress(RemoteProtocolError):
            used = machine.receive(memoryview(bytearray(data)), len(data), 0.0)
            assert 0 <= used <= len(data)
            machine.data_to_send(0.0)

    return run


def _frames(*, tls: bool) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        opener = FrameOpener(Suite.AES_256_GCM, KEY, has_tls_records=tls, limits=KeyLimits())
        buffer = memoryview(bytearray(data))
        with contextlib.suppress(RemoteProtocolError):
            used = opener.open_frames(buffer, 0, len(buffer), Gatherer(), lambda *_: None)
            assert 0 <= used <= len(data)

    return run


def _plaintext(data: bytes) -> None:
    """What a neighbour who has the keys may put inside a frame."""
    sealer = FrameSealer(Suite.AES_256_GCM, KEY, has_tls_records=False, limits=KeyLimits(), now=0.0)
    text = (data or b"\0")[:16_385]
    octets = sealer._seal_one(memoryview(bytearray(5) + text + bytes(16)), text[0])
    _frames(tls=False)(bytes(octets))


def _parts(data: bytes) -> None:
    """PART frames, cut at every 40th octet."""
    joiner = PartJoiner()
    with contextlib.suppress(RemoteProtocolError):
        for at in range(0, len(data), 40):
            body = memoryview(bytearray(data[at : at + 40]))
            joiner.part_received(body, 0, len(body), Gatherer())
            while joiner.has_control:
                joiner.take_control()


def _pipe(data: bytes) -> None:
    """What anybody may send to a pipe, and what the other end of an open one may seal."""
    dialling, answering = pipes()
    with contextlib.suppress(RemoteProtocolError):
        answering.receive(data, 0.0)
    opened, other = _PIPES
    body, kind = data[1:16_000], list(FrameType)[data[0] % len(FrameType)] if data else FrameType.PADDING
    sealed = b"".join(FrameSealer(Suite.CHACHA20_POLY1305, KEY, **_PIPE_KEYS).seal(kind, body, 0.0))
    opened._opener = FrameOpener(Suite.CHACHA20_POLY1305, KEY, has_tls_records=False, limits=KeyLimits())
    opened.state, opened._may_receive = PipeState.OPEN, WINDOW
    opened.credit, opened.arrived = 0, Arrived()
    opened._pending.clear()
    with contextlib.suppress(RemoteProtocolError):
        opened.receive(sealed, 0.0)
    assert other.state is dialling.state


_PIPES = pipes()
_PIPE_KEYS: dict[str, Any] = {"has_tls_records": False, "limits": KeyLimits(), "now": 0.0}

TARGETS: dict[str, Callable[[bytes], None]] = {
    "packet": _packet,
    "hello": _hello,
    "retry": _retry,
    "initiator": _machine(_initiator),
    "responder": _machine(_responder),
    "frames": _frames(tls=False),
    "tls_frames": _frames(tls=True),
    "plaintext": _plaintext,
    "parts": _parts,
    "pipe": _pipe,
}


def _sealed(*, tls: bool) -> bytes:
    sealer = FrameSealer(Suite.AES_256_GCM, KEY, has_tls_records=tls, limits=KeyLimits(), now=0.0)
    parts = sealer.seal_runs([make_frame(fill=1), make_frame(cells=7)], 0.0)
    parts += sealer.seal(FrameType.PING, bytes(8), 0.0) + sealer.seal(FrameType.CLOSE, b"\0", 0.0)
    return b"".join(parts)


_HELLO = Hello(link_suite(2), bytes(32), bytes(12)).encode()
_RETRY = Retry(PuzzleKind.SHA256, 1, bytes(16), bytes(32)).encode()

SEEDS: dict[str, list[bytes]] = {
    "pipe": [
        bytes((list(FrameType).index(kind),)) + body
        for kind, body in (
            (FrameType.PIPE_DATA, b"\0\1x"),
            (FrameType.PIPE_CREDIT, b"\0\0\0\1"),
            (FrameType.PIPE_PART, b"\x16\0\0\0\1\0\2ab\0\1x\0\0"),
        )
    ]
    + [_HELLO],
    "packet": [encode_packet(PacketKind.MESSAGE_2, bytes(20))],
    "hello": [_HELLO, Hello(link_suite(0x81)).encode()],
    "retry": [_RETRY],
    "initiator": [
        encode_packet(PacketKind.RETRY, _RETRY),
        encode_packet(PacketKind.RETRY, Retry(PuzzleKind.NONE, 0, bytes(16), bytes(32)).encode()),
        encode_packet(PacketKind.MESSAGE_2, bytes(1160)),
    ],
    "responder": [_initiator().start(), encode_packet(PacketKind.HELLO, _HELLO + bytes(1248))],
    "frames": [_sealed(tls=False)],
    "tls_frames": [_sealed(tls=True)],
    "plaintext": [b"\1" + bytes(make_frame()[6:-16]), b"\2" + bytes(8), b"\5", b"\4\0", b"\6\1x"],
    "parts": [
        b"\0\0\x25" + bytes(make_frame()[6:43]) + b"\1\0\x25" + bytes(37),
        b"\2\0\2xx\0\2ab" + bytes(31),
    ],
}
