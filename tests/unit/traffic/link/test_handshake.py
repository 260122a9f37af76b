"""The link handshake: vectors, every octet flipped, downgrade, misbinding, reflection, RETRY."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from kyber_py.ml_kem import ML_KEM_768  # type: ignore[import-untyped]  # has no types

from tests.support.links import FakeRecord, seeded_random
from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.noise import NoiseHandshake
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.handshake import Channel, Initiator, Responder
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.wire import (
    Hello,
    LinkSuite,
    PacketKind,
    PuzzleKind,
    Retry,
    decode_hello,
    decode_packet,
    encode_packet,
    handshake_prologue,
    link_suite,
)
from vigilnet.traffic.transport.carrier import CarrierKind

RESPONDER = b"responder".ljust(32)
CLIENT = b"client".ljust(32)
WALL = 1_790_000_000.0
UNLOADED = Options(
    allow_classical=True, max_unfinished=1 << 30, cookie_above_unfinished=1 << 30, cookie_above_rate=1 << 30
)
PLAIN = Channel(CarrierKind.PLAIN, bytes(32))


@dataclass
class Fixed:
    """The same ephemeral keys every time: for vectors, and to repeat one handshake with one octet changed."""

    dh: bytes
    kem_seed: bytes
    kem_m: bytes
    asked: int = 0

    def dh_key(self) -> X25519PrivateKey:
        self.asked += 1
        return X25519PrivateKey.from_private_bytes(self.dh)

    def kem_key(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self.kem_seed)

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        secret, ciphertext = ML_KEM_768._encaps_internal(public.public_bytes_raw(), self.kem_m)
        return secret, ciphertext


def public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@dataclass
class Ends:
    """How to make both ends of a handshake; change a field to make them disagree."""

    suite: LinkSuite = field(default_factory=lambda: link_suite(2))
    client_key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    relay_key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    record: bytes = b""
    channels: tuple[Channel, Channel] = (PLAIN, PLAIN)
    identities: tuple[bytes, bytes] = (RESPONDER, RESPONDER)  # as the initiator and the responder have it
    responder_key: bytes | None = None  # what the record says; None: the right one
    options: Options = UNLOADED
    admit: Callable[[bytes], FakeRecord] = FakeRecord.admit
    ephemerals: tuple[Fixed | None, Fixed | None] = (None, None)
    next_key: X25519PrivateKey | None = None  # the relay's, when the initiator's record is older than it

    def __post_init__(self) -> None:
        self.admission = Admission(self.options, self.identities[1], "", seeded_random("ends"), 0.0)

    def initiator(self) -> Initiator:
        return Initiator(
            self.suite,
            self.client_key,
            self.record,
            responder=self.identities[0],
            responder_key=self.responder_key or public(self.relay_key),
            channel=self.channels[0],
            ephemerals=self.ephemerals[0],
        )

    def responder(self) -> Responder:
        ticket = self.admission.enter("192.0.2.1", 0.0, lambda: None)
        assert ticket is not None
        return Responder(
            self.identities[1],
            self.next_key or self.relay_key,
            channel=self.channels[1],
            admission=self.admission,
            ticket=ticket,
            admit=self.admit,
            wall_minus_now=WALL,
            previous_key=self.relay_key if self.next_key else None,
            allow_classical=self.options.allow_classical,
            ephemerals=self.ephemerals[1],
        )


def give(end: Initiator | Responder, packets: bytes, now: float = 1.0) -> bytes:
    """Give packets to one end; return what it answers."""
    answer = b""
    while packets:
        packet = decode_packet(packets)
        if packet is None:
            raise RemoteProtocolError("incomplete: it would wait and then give up")
        kind, body, size = packet
        answer += end.packet_received(kind, body, now)
        packets = packets[size:]
    return answer


def shake(ends: Ends) -> tuple[Initiator, Responder, list[bytes]]:
    """Run a whole handshake; return both ends and what crossed the wire."""
    initiator, responder = ends.initiator(), ends.responder()
    wire = [initiator.start()]
    assert responder.start() == b""
    speakers: list[Initiator | Responder] = [responder, initiator]
    while wire[-1]:
        wire.append(give(speakers[len(wire) % 2 - 1], wire[-1]))
        while initiator.is_solving and not wire[-1]:
            wire[-1] = initiator.solve()
    return initiator, responder, wire[:-1]


def fixed_ends(suite: LinkSuite) -> Ends:
    return Ends(
        suite,
        X25519PrivateKey.from_private_bytes(b"c" * 32),
        X25519PrivateKey.from_private_bytes(b"r" * 32),
        ephemerals=(Fixed(b"e" * 32, b"k" * 64, b""), Fixed(b"E" * 32, b"", b"m" * 32)),
    )


ALL_SUITES = [link_suite(octet) for octet in (0x01, 0x02, 0x81, 0x82)]


@pytest.mark.parametrize("vector", protocol_vectors("link"), ids=lambda vector: vector["protocol_name"])
def test_handshake_equals_the_vectors(vector: dict[str, Any]) -> None:
    initiator_key = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["init_static"]))
    kem_seed, kem_m = (bytes.fromhex(vector.get(name, "")) for name in ("kem_seed_d_z", "kem_m"))
    identity = bytes.fromhex(vector["responder_identity"])
    payloads = [bytes.fromhex(message["payload"]) for message in vector["messages"]]
    ends = Ends(
        link_suite(vector["suite"]),
        initiator_key,
        X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["resp_static"])),
        record=payloads[2],  # any octets
        identities=(identity, identity),
        admit=lambda encoded: FakeRecord(encoded[:32], public(initiator_key)),
        ephemerals=(
            Fixed(bytes.fromhex(vector["init_ephemeral"]), kem_seed, b""),
            Fixed(bytes.fromhex(vector["resp_ephemeral"]), b"", kem_m),
        ),
    )
    initiator, responder = ends.initiator(), ends.responder()
    first = initiator.start()
    messages = [bytes.fromhex(message["message"]) for message in vector["messages"]]
    assert first == encode_packet(PacketKind.HELLO, bytes.fromhex(vector["hello"]) + messages[0])
    responder._wall_minus_now = int.from_bytes(payloads[1], "big") / 1000 - 1.0
    monotone = struct.Struct(">Q").unpack(payloads[1])[0]
    responder_answers = give(_with_clock(responder, monotone), first)
    assert responder_answers == encode_packet(PacketKind.MESSAGE_2, messages[1])
    third = give(initiator, responder_answers)
    assert third == encode_packet(PacketKind.MESSAGE_3, messages[2])
    assert give(responder, third) == b""
    for result in (initiator.result, responder.result):
        assert result is not None
        assert result.keys.handshake_hash.hex() == vector["handshake_hash"]
        assert result.keys.initiator_to_responder.hex() == vector["key_initiator_to_responder"]
        assert result.keys.responder_to_initiator.hex() == vector["key_responder_to_initiator"]


def _with_clock(responder: Responder, clock_ms: int) -> Responder:
    """Make the responder's clock say `clock_ms` exactly; the vector's is beyond what a float holds."""

    class Clock(float):
        def __add__(self, _: float) -> "Clock":
            return self

        __radd__ = __add__

        def __mul__(self, _: float) -> int:
            return clock_ms

    responder._wall_minus_now = Clock()
    return responder


@pytest.mark.parametrize("suite", ALL_SUITES, ids=lambda suite: hex(suite.octet))
def test_both_ends_agree_and_learn_what_they_should(suite: LinkSuite) -> None:
    key = X25519PrivateKey.generate()
    ends = Ends(
        suite,
        client_key=key,
        record=FakeRecord(CLIENT, public(key)).encoded,
    )
    initiator, responder, wire = shake(ends)
    ours, theirs = initiator.result, responder.result
    assert ours is not None
    assert theirs is not None
    assert ours.keys == theirs.keys
    assert (ours.is_initiator, theirs.is_initiator) == (True, False)
    assert (ours.peer, theirs.peer) == (RESPONDER, CLIENT)
    assert ours.clock_ms == int((WALL + 1.0) * 1000)
    assert ours.suite == theirs.suite == suite.aead
    hybrid = suite.octet < 0x80
    assert [len(packet) for packet in wire] == [
        3 + 4 + (1248 if hybrid else 48),
        3 + (1160 if hybrid else 56),
        3 + 64 + 64,
    ]


def test_an_anonymous_client_gives_no_identity() -> None:
    _, responder, wire = shake(Ends())
    assert responder.result is not None
    assert responder.result.peer is None
    assert responder.result.record is None
    assert len(wire[2]) == 3 + 64


def test_the_clients_static_key_and_record_are_not_in_clear() -> None:
    key = X25519PrivateKey.generate()
    record = FakeRecord(CLIENT, public(key)).encoded
    _, _, wire = shake(Ends(client_key=key, record=record))
    assert public(key) not in b"".join(wire)
    assert CLIENT not in b"".join(wire)


@pytest.mark.parametrize("suite", [link_suite(0x02), link_suite(0x81)], ids=["hybrid", "classical"])
def test_every_flipped_octet_of_message_1_is_refused(suite: LinkSuite) -> None:
    ends = fixed_ends(suite)
    good = ends.initiator().start()
    for at in range(2, len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x80 if at % 2 else 0x01
        with pytest.raises(RemoteProtocolError):
            give(ends.responder(), bytes(bad))
    assert give(ends.responder(), good)


def test_bit_255_of_the_ephemeral_key_is_refused_although_the_secret_is_the_same() -> None:
    ends = fixed_ends(link_suite(2))
    bad = bytearray(ends.initiator().start())
    bad[3 + 4 + 31] ^= 0x80
    with pytest.raises(RemoteProtocolError, match="tag"):
        give(ends.responder(), bytes(bad))


@pytest.mark.parametrize("suite", [link_suite(0x02), link_suite(0x81)], ids=["hybrid", "classical"])
@pytest.mark.parametrize("part", range(4))
def test_every_flipped_octet_of_message_2_is_refused(suite: LinkSuite, part: int) -> None:
    ends = fixed_ends(suite)
    _, _, (first, second, _) = shake(ends)
    for at in range(2 + part, len(second), 4):
        initiator = ends.initiator()
        assert initiator.start() == first
        bad = bytearray(second)
        bad[at] ^= 0x01
        with pytest.raises(RemoteProtocolError):
            give(initiator, bytes(bad))
        assert initiator.result is None


@pytest.mark.parametrize("suite", [link_suite(0x02), link_suite(0x81)], ids=["hybrid", "classical"])
def test_every_flipped_octet_of_message_3_is_refused(suite: LinkSuite) -> None:
    ends = fixed_ends(suite)
    _, _, (first, second, third) = shake(ends)
    for at in range(2, len(third)):
        responder = ends.responder()
        assert give(responder, first) == second
        bad = bytearray(third)
        bad[at] ^= 0x10
        with pytest.raises(RemoteProtocolError):
            give(responder, bytes(bad))
        assert responder.result is None


@pytest.mark.parametrize("suite", ALL_SUITES, ids=lambda suite: hex(suite.octet))
def test_cut_messages_are_refused(suite: LinkSuite) -> None:
    ends = fixed_ends(suite)
    _, _, (first, second, third) = shake(ends)
    for cut in (1, 16, len(first) - 8):
        with pytest.raises(RemoteProtocolError):
            ends.responder().packet_received(PacketKind.HELLO, first[3:-cut], 1.0)
    for cut in (1, 8, 30):
        initiator = ends.initiator()
        initiator.start()
        with pytest.raises(RemoteProtocolError):
            initiator.packet_received(PacketKind.MESSAGE_2, second[3:-cut], 1.0)
        responder = ends.responder()
        give(responder, first)
        with pytest.raises(RemoteProtocolError):
            responder.packet_received(PacketKind.MESSAGE_3, third[3:-cut], 1.0)


def test_a_classical_suite_is_refused_unless_allowed() -> None:
    ends = Ends(link_suite(0x82), options=Options())
    with pytest.raises(RemoteProtocolError, match="not allowed"):
        give(ends.responder(), ends.initiator().start())


def edited_hello(packet: bytes, edit: Callable[[Hello], Hello]) -> bytes:
    hello, end = decode_hello(packet[3:])
    return encode_packet(PacketKind.HELLO, edit(hello).encode() + packet[3 + end :])


@pytest.mark.parametrize("octet", [0x01, 0x02, 0x81, 0x82])
@pytest.mark.parametrize("edited", [0x01, 0x02, 0x81, 0x82])
def test_a_proxy_that_edits_the_suite_breaks_the_handshake(octet: int, edited: int) -> None:
    ends = Ends(link_suite(octet))
    packet = edited_hello(ends.initiator().start(), lambda hello: replace(hello, suite=link_suite(edited)))
    if octet == edited:
        assert give(ends.responder(), packet)
    else:
        with pytest.raises(RemoteProtocolError):
            give(ends.responder(), packet)


def test_a_proxy_that_edits_version_cookie_or_solution_breaks_the_handshake() -> None:
    ends = Ends()
    packet = ends.initiator().start()
    for edit in (
        lambda hello: replace(hello, cookie=bytes(32)),
        lambda hello: replace(hello, solution=bytes(12)),
    ):
        with pytest.raises(RemoteProtocolError, match="tag"):
            give(ends.responder(), edited_hello(packet, edit))
    with pytest.raises(RemoteProtocolError, match="version"):
        give(ends.responder(), packet[:3] + b"\2" + packet[4:])


@pytest.mark.parametrize(
    "other",
    [
        Channel(CarrierKind.HTX_BORROWED, bytes(32)),
        Channel(CarrierKind.PLAIN, b"\1" + bytes(31)),
        Channel(CarrierKind.PLAIN, bytes(32), "lab"),
    ],
    ids=["carrier", "binding", "network"],
)
def test_both_ends_must_see_the_same_carrier_binding_and_network(other: Channel) -> None:
    for channels in ((PLAIN, other), (other, PLAIN)):
        ends = Ends(channels=channels)
        with pytest.raises(RemoteProtocolError, match="tag"):
            give(ends.responder(), ends.initiator().start())
    assert shake(Ends(channels=(other, other)))[1].result is not None


def test_a_record_that_copies_anothers_link_key_misbinds_nobody() -> None:
    ends = Ends(identities=(b"thief".ljust(32), RESPONDER))
    with pytest.raises(RemoteProtocolError, match="tag"):
        give(ends.responder(), ends.initiator().start())


def test_the_wrong_static_key_is_refused_before_any_payload() -> None:
    ends = Ends(responder_key=public(X25519PrivateKey.generate()))
    with pytest.raises(RemoteProtocolError, match="tag"):
        give(ends.responder(), ends.initiator().start())


def test_a_responder_that_is_another_cannot_answer() -> None:
    ends, other = Ends(), Ends()
    initiator = ends.initiator()
    initiator.start()
    answer = give(other.responder(), other.initiator().start())
    with pytest.raises(RemoteProtocolError):
        give(initiator, answer)


def test_our_own_key_is_refused_on_both_sides() -> None:
    key = X25519PrivateKey.generate()
    with pytest.raises(RemoteProtocolError, match="our own"):
        Ends(client_key=key, relay_key=key).initiator()
    ends = Ends(client_key=key, relay_key=key, responder_key=bytes(32))
    ends.responder_key = public(X25519PrivateKey.generate())
    initiator = ends.initiator()  # a thief of the link key dials its owner
    initiator._responder_key = public(key)
    first = initiator.start()
    responder = ends.responder()
    third = give(initiator, give(responder, first))
    with pytest.raises(RemoteProtocolError, match="our own"):
        give(responder, third)


@pytest.mark.parametrize("suite", ALL_SUITES, ids=lambda suite: f"{suite.octet:02x}")
def test_a_responder_answers_to_its_previous_link_key_too(suite: LinkSuite) -> None:
    keys = [X25519PrivateKey.generate() for _ in range(3)]
    for known in keys[:2]:
        ends = Ends(suite, relay_key=keys[0], next_key=keys[1], responder_key=public(known))
        initiator, responder, _ = shake(ends)
        assert initiator.result is not None
        assert responder.result is not None
        assert initiator.result.keys == responder.result.keys
    with pytest.raises(RemoteProtocolError, match="tag does not verify"):
        shake(Ends(suite, relay_key=keys[0], next_key=keys[1], responder_key=public(keys[2])))


def test_a_responder_tries_both_link_keys_whichever_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[None] = []
    read = NoiseHandshake.read_message

    def counted(noise: NoiseHandshake, message: bytes) -> bytes:
        tried.append(None)
        return read(noise, message)

    keys = [X25519PrivateKey.generate() for _ in range(2)]
    for known in keys:
        ends = Ends(relay_key=keys[0], next_key=keys[1], responder_key=public(known))
        hello = ends.initiator().start()
        responder = ends.responder()
        tried.clear()
        with monkeypatch.context() as patch:
            patch.setattr(NoiseHandshake, "read_message", counted)
            give(responder, hello)
        assert len(tried) == 2


def test_an_initiator_with_a_link_key_of_ours_is_refused() -> None:
    previous, present = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    for theirs, dialled in ((previous, present), (present, previous)):
        ends = Ends(client_key=theirs, relay_key=previous, next_key=present, responder_key=public(dialled))
        with pytest.raises(RemoteProtocolError, match="initiator's key is our own"):
            shake(ends)


def test_our_own_message_sent_back_is_refused() -> None:
    ends = Ends()
    initiator = ends.initiator()
    first = initiator.start()
    with pytest.raises(RemoteProtocolError, match="message 2 expected"):
        give(initiator, first)


def test_the_record_must_name_the_key_that_was_used_and_not_be_ours() -> None:
    key = X25519PrivateKey.generate()
    other = FakeRecord(CLIENT, public(X25519PrivateKey.generate()))
    with pytest.raises(RemoteProtocolError, match="another link key"):
        shake(Ends(client_key=key, record=other.encoded))
    ours = FakeRecord(RESPONDER, public(key))
    with pytest.raises(RemoteProtocolError, match="identity is our own"):
        shake(Ends(client_key=key, record=ours.encoded))


def test_a_record_that_is_not_admitted_ends_the_handshake() -> None:
    with pytest.raises(RemoteProtocolError, match="not one of ours"):
        shake(Ends(record=b"junk"))


def test_payload_1_must_be_empty_and_payload_2_eight_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    hello = Hello(ends.suite).encode()
    chatty = NoiseHandshake(
        ends.suite.pattern,
        ends.suite.aead,
        initiator=True,
        prologue=handshake_prologue(hello, CarrierKind.PLAIN, bytes(32), RESPONDER, ""),
        remote_static=public(ends.relay_key),
        local_static=ends.client_key,
    )
    packet = encode_packet(PacketKind.HELLO, hello + chatty.write_message(b"early"))
    with pytest.raises(RemoteProtocolError, match="payload 1"):
        give(ends.responder(), packet)
    monkeypatch.setattr("vigilnet.traffic.link.handshake._CLOCK", struct.Struct(">I"))
    responder, initiator = ends.responder(), ends.initiator()
    responder._wall_minus_now = 0.0
    answer = give(responder, initiator.start())
    monkeypatch.undo()
    with pytest.raises(RemoteProtocolError, match="payload 2 of 4"):
        give(initiator, answer)


LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:2].hex())
def test_points_of_low_order_are_refused(point: bytes) -> None:
    ends = fixed_ends(link_suite(2))
    _, _, (first, second, _) = shake(ends)
    with pytest.raises(RemoteProtocolError):
        give(ends.responder(), first[:7] + point + first[39:])
    initiator = ends.initiator()
    initiator.start()
    with pytest.raises(RemoteProtocolError):
        give(initiator, second[:3] + point + second[35:])
    of_bad_record = replace(ends, responder_key=point).initiator()
    with pytest.raises(RemoteProtocolError, match=r"key"):
        of_bad_record.start()


def test_packets_out_of_turn_are_refused() -> None:
    ends = Ends()
    first = ends.initiator().start()
    for kind in (PacketKind.RETRY, PacketKind.MESSAGE_2, PacketKind.MESSAGE_3):
        with pytest.raises(RemoteProtocolError, match="out of turn"):
            ends.responder().packet_received(kind, b"", 1.0)
    responder = ends.responder()
    give(responder, first)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        give(responder, first)
    initiator, responder, (_, second, third) = shake(ends)
    for end, packet in ((initiator, second), (responder, third), (responder, first)):
        with pytest.raises(RemoteProtocolError, match="out of turn"):
            give(end, packet)
    initiator = ends.initiator()
    initiator.start()
    for kind in (PacketKind.HELLO, PacketKind.MESSAGE_3):
        with pytest.raises(RemoteProtocolError, match="message 2 expected"):
            initiator.packet_received(kind, b"", 1.0)


# --- RETRY -----------------------------------------------------------------------------------------

LOADED = Options(cookie_above_unfinished=0)


def loaded_ends(effort: int = 0) -> Ends:
    ends = Ends(options=LOADED)
    ends.admission._effort = effort
    return ends


@pytest.mark.parametrize("effort", [0, 1, 300])
def test_a_loaded_responder_is_reached_by_one_retry(effort: int) -> None:
    initiator, responder, wire = shake(loaded_ends(effort))
    assert [packet[2] for packet in wire] == [1, 2, 1, 3, 4]
    assert initiator.result is not None
    assert responder.result is not None
    assert initiator.result.keys == responder.result.keys
    hello, _ = decode_hello(wire[2][3:])
    assert len(hello.cookie) == 32
    assert len(hello.solution) == (12 if effort else 0)


@pytest.mark.parametrize("effort", [0, 50])
def test_one_ephemeral_key_goes_out_under_one_hello_only(effort: int) -> None:
    _, _, wire = shake(loaded_ends(effort))
    first_hello, first_end = decode_hello(wire[0][3:])
    second_hello, second_end = decode_hello(wire[2][3:])
    first, second = wire[0][3 + first_end :], wire[2][3 + second_end :]
    assert first_hello != second_hello
    assert first[:32] != second[:32]
    assert not {first[at : at + 16] for at in range(0, 1200, 16)} & {
        second[at : at + 16] for at in range(0, 1200, 16)
    }


def test_a_second_retry_is_refused() -> None:
    ends = loaded_ends()
    initiator = ends.initiator()
    retry = give(ends.responder(), initiator.start())
    give(initiator, retry)
    with pytest.raises(RemoteProtocolError, match="message 2 expected"):
        give(initiator, retry)


def test_a_third_hello_on_one_connection_is_refused() -> None:
    ends = loaded_ends()
    responder = ends.responder()
    packet = ends.initiator().start()
    assert give(responder, packet)[2] == PacketKind.RETRY
    assert give(responder, packet)[2] == PacketKind.RETRY
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        give(responder, packet)


def test_a_replayed_hello_with_its_solution_opens_nothing_more() -> None:
    ends = loaded_ends(50)
    _, _, wire = shake(ends)
    with pytest.raises(RemoteProtocolError, match="used before"):
        give(ends.responder(), wire[2])


def test_while_solving_nothing_is_taken_and_the_work_comes_in_slices() -> None:
    ends = Ends()
    initiator = ends.initiator()
    initiator.start()
    hard = Retry(PuzzleKind.SHA256, 65_536, bytes(16), bytes(32))
    assert initiator.packet_received(PacketKind.RETRY, hard.encode(), 1.0) == b""
    assert initiator.is_solving
    assert initiator.solve(1) == b""
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        initiator.packet_received(PacketKind.MESSAGE_2, bytes(1160), 1.0)
    packet = b""
    while not packet:
        packet = initiator.solve(50_000)
    assert not initiator.is_solving
    assert packet[2] == PacketKind.HELLO


def test_an_effort_beyond_reason_is_refused() -> None:
    initiator = Ends().initiator()
    initiator.start()
    body = bytearray(Retry(PuzzleKind.SHA256, 65_536, bytes(16), bytes(32)).encode())
    body[4] = 1
    with pytest.raises(RemoteProtocolError, match="effort 65537"):
        initiator.packet_received(PacketKind.RETRY, bytes(body), 1.0)


def test_solving_without_a_puzzle_is_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError):
        Ends().initiator().solve()
    with pytest.raises(LocalProtocolError):
        Ends().responder().solve()


def test_later_theft_of_all_static_keys_does_not_open_what_was_recorded() -> None:
    ends = Ends()
    initiator, _, wire = shake(ends)
    assert initiator.result is not None
    # The thief has both static keys and the whole transcript: he can play the responder up to `es`,
    # but without an ephemeral secret neither `ee` nor the ML-KEM secret.
    thief = replace(ends).responder()
    answer = give(thief, wire[0])
    assert answer != wire[1]
    with pytest.raises(RemoteProtocolError):
        give(thief, wire[2])


@given(st.sampled_from(PacketKind), st.binary(max_size=200), st.booleans())
@settings(deadline=None)
def test_any_packet_is_answered_or_is_the_peers_fault(kind: PacketKind, body: bytes, ours: bool) -> None:
    end: Initiator | Responder = FUZZ_ENDS.initiator() if ours else FUZZ_ENDS.responder()
    end.start()
    try:
        end.packet_received(kind, body, 1.0)
    except RemoteProtocolError:
        assert end.result is None


FUZZ_ENDS = Ends()


# --- where the carrier has shown the initiator's ML-KEM key -----------------------------------------


def kem_ends(octet: int = 2, *, shown: bytes = b"k" * 64) -> Ends:
    kem = MLKEM768PrivateKey.from_seed_bytes(b"k" * 64)
    theirs = MLKEM768PrivateKey.from_seed_bytes(shown).public_key()
    return Ends(link_suite(octet), channels=(replace(PLAIN, kem=kem), replace(PLAIN, kem=theirs)))


@pytest.mark.parametrize("octet", [0x01, 0x02])
def test_a_shown_kem_key_makes_message_1_short(octet: int) -> None:
    initiator, responder, wire = shake(kem_ends(octet))
    assert wire[0][4] == octet | 0x40
    assert [len(packet) for packet in wire] == [3 + 4 + 48, 3 + 1160, 3 + 64]
    assert initiator.result is not None
    assert responder.result is not None
    assert initiator.result.keys == responder.result.keys


def test_the_short_handshake_s_octets_are_these() -> None:
    ends = replace(fixed_ends(link_suite(2)), channels=kem_ends().channels)
    initiator, _, wire = shake(ends)
    assert initiator.result is not None
    assert [sha256(packet).hexdigest()[:16] for packet in wire] == [
        "bca882edf7c3021e",
        "cdca3398bb2464a6",
        "8bfaa71645b2a6f2",
    ]
    assert initiator.result.keys.handshake_hash.hex()[:16] == "093bdb95e4c89bf9"


def test_another_kem_key_than_was_shown_is_refused() -> None:
    ends = kem_ends(shown=b"x" * 64)
    with pytest.raises(RemoteProtocolError, match="tag"):
        give(ends.responder(), ends.initiator().start())


def test_a_carrier_that_has_shown_no_kem_key_gets_none() -> None:
    ends = kem_ends()
    without = replace(ends, channels=(ends.channels[0], PLAIN))
    with pytest.raises(RemoteProtocolError, match="has shown no"):
        give(without.responder(), ends.initiator().start())


@pytest.mark.parametrize("edited", [0x01, 0x02, 0x41, 0x81, 0x82])
def test_a_proxy_cannot_edit_the_suite_of_a_short_handshake(edited: int) -> None:
    ends = kem_ends()
    packet = edited_hello(ends.initiator().start(), lambda hello: replace(hello, suite=link_suite(edited)))
    with pytest.raises(RemoteProtocolError):
        give(ends.responder(), packet)


def test_every_flipped_octet_of_a_short_message_1_or_of_its_answer_is_refused() -> None:
    ends = replace(kem_ends(), ephemerals=fixed_ends(link_suite(2)).ephemerals)
    packet = ends.initiator().start()
    for at in range(7, len(packet)):
        broken = bytearray(packet)
        broken[at] ^= 1
        with pytest.raises(RemoteProtocolError):
            give(ends.responder(), bytes(broken))
    answer = give(ends.responder(), packet)
    for at in range(3, len(answer), 37):
        broken = bytearray(answer)
        broken[at] ^= 1
        initiator = ends.initiator()
        initiator.start()
        with pytest.raises(RemoteProtocolError):
            give(initiator, bytes(broken))


@pytest.mark.parametrize("effort", [0, 32])
def test_a_short_handshake_is_retried_too(effort: int) -> None:
    ends = replace(loaded_ends(effort), channels=kem_ends().channels)
    initiator, responder, wire = shake(ends)
    assert initiator.result is not None
    assert responder.result is not None
    assert initiator.result.keys == responder.result.keys
    assert wire[0][-48:-16] != wire[2][-48:-16]  # a fresh e


def test_a_classical_handshake_leaves_a_shown_kem_key_alone() -> None:
    initiator, _, wire = shake(kem_ends(0x81))
    assert wire[0][4] == 0x81
    assert initiator.result is not None


def test_only_the_initiator_has_the_private_half() -> None:
    ends = kem_ends()
    turned = replace(ends, channels=(ends.channels[1], ends.channels[0]))
    with pytest.raises(LocalProtocolError, match="private half"):
        turned.initiator().start()
