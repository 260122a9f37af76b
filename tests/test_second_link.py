"""What docs/spec says of suites 0x41 and 0x42 is enough: a second implementation agrees with ours."""

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.hellos import template_of
from tests.support.links import FakeRecord, seeded_random
from tests.support.second_link import SecondLink, binding, kem_share
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.handshake import Channel, Initiator, Responder
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.wire import decode_packet, link_suite
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.htx.authenticator import Authenticator, Stamp, binding_of, seal_session_id
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.relay_session import RelaySession
from vigilnet.traffic.transport.htx.wire import encode_record

IDENTITY = b"responder".ljust(32)
RELAY, CLIENT, COVER = (X25519PrivateKey.generate() for _ in range(3))
SERVER_HELLO = os.urandom(90)


class Scene:
    """A hello that crossed the wire, and what both ends make of it."""

    def __init__(self, template: str) -> None:
        built = build(template_of(template), "www.example.test", os.urandom)
        shared = built.keys.authenticating.exchange(COVER.public_key())
        stamp = Stamp(1_800_000_000, bytes(8)).encode()
        sealed = seal_session_id(shared, built.hello.random, built.hello.encode(), stamp)
        self.hello = built.with_session_id(sealed).hello.encode()
        assert built.keys.hybrid is not None
        self.kem: MLKEM768PrivateKey = built.keys.hybrid[0]
        self.bound = binding_of(self.hello, SERVER_HELLO)

    def second(self, suite: int) -> SecondLink:
        key = RELAY.public_key().public_bytes_raw()
        return SecondLink(
            suite, 2, binding(self.hello, SERVER_HELLO), IDENTITY, key, kem_share(self.hello)
        )  # fmt: skip


def one_packet(octets: bytes) -> tuple[object, bytes]:
    found = decode_packet(octets)
    assert found is not None
    kind, body, size = found
    assert size == len(octets)
    return kind, body


@pytest.mark.parametrize("octet", [1, 2])
@pytest.mark.parametrize("template", ["chromium", "firefox"])
def test_our_initiator_and_the_second_responder(octet: int, template: str) -> None:
    scene = Scene(template)
    ours = Initiator(
        link_suite(octet), CLIENT, b"", responder=IDENTITY,
        responder_key=RELAY.public_key().public_bytes_raw(),
        channel=Channel(CarrierKind.HTX_OWN_SITE, scene.bound, kem=scene.kem),
    )  # fmt: skip
    second = scene.second(0x40 | octet)
    answer = second.answer(ours.start(), RELAY, 1_800_000_000_123)
    last = ours.packet_received(*one_packet(answer), 1.0)  # type: ignore[arg-type]  # its kind
    assert second.take_last(last) == CLIENT.public_key().public_bytes_raw()
    assert ours.result is not None
    assert ours.result.clock_ms == 1_800_000_000_123
    keys = ours.result.keys
    assert (keys.initiator_to_responder, keys.responder_to_initiator) == second.keys
    assert keys.handshake_hash == second.handshake_hash


@pytest.mark.parametrize("octet", [1, 2])
@pytest.mark.parametrize("template", ["chromium", "firefox"])
def test_the_second_initiator_and_our_responder(octet: int, template: str) -> None:
    scene = Scene(template)
    session = RelaySession(Authenticator(lambda: (COVER,)))
    session.client_data(encode_record(22, scene.hello, 0x0301))
    session.judge(1_800_000_000, 0.0)
    admission = Admission(Options(), IDENTITY, "", seeded_random("second"), 0.0)
    ticket = admission.enter("192.0.2.1", 0.0, lambda: None)
    assert ticket is not None
    ours = Responder(
        IDENTITY, RELAY, admission=admission, ticket=ticket, admit=FakeRecord.admit,
        channel=Channel(CarrierKind.HTX_OWN_SITE, scene.bound, kem=session.kem()), wall_minus_now=1.8e9,
    )  # fmt: skip
    second = scene.second(0x40 | octet)
    answer = ours.packet_received(*one_packet(second.say_hello()), 1.5)  # type: ignore[arg-type]  # its kind
    last, clock = second.finish(answer, scene.kem, CLIENT)
    assert clock == 1_800_000_001_500
    ours.packet_received(*one_packet(last), 1.5)  # type: ignore[arg-type]  # its kind
    assert ours.result is not None
    keys = ours.result.keys
    assert (keys.initiator_to_responder, keys.responder_to_initiator) == second.keys
    assert keys.handshake_hash == second.handshake_hash


def test_another_hello_on_the_wire_ends_it() -> None:
    scene, other = Scene("chromium"), Scene("chromium")
    ours = Initiator(
        link_suite(1), CLIENT, b"", responder=IDENTITY,
        responder_key=RELAY.public_key().public_bytes_raw(),
        channel=Channel(CarrierKind.HTX_OWN_SITE, scene.bound, kem=other.kem),
    )  # fmt: skip
    with pytest.raises(InvalidTag):
        scene.second(0x41).answer(ours.start(), RELAY, 0)
