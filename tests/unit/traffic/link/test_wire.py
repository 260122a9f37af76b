"""Packets, hello, RETRY and the prologue: golden octets, round trips, limits, any octets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.noise import Pattern
from vigilnet.traffic.link.wire import (
    MAX_EFFORT,
    MAX_PACKET,
    Hello,
    LinkSuite,
    PacketKind,
    PuzzleKind,
    Retry,
    decode_hello,
    decode_packet,
    decode_retry,
    encode_packet,
    handshake_prologue,
    link_suite,
)
from vigilnet.traffic.transport.carrier import CarrierKind

SUITES = st.builds(LinkSuite, st.sampled_from([Pattern.XK, Pattern.XK_HFS]), st.sampled_from(Suite))
HELLOS = st.builds(
    Hello,
    SUITES,
    st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)),
    st.one_of(st.just(b""), st.binary(min_size=12, max_size=12)),
)


@pytest.mark.parametrize("vector", protocol_vectors("link"), ids=lambda vector: vector["protocol_name"])
def test_hello_and_prologue_equal_the_vectors(vector: dict[str, str | int]) -> None:
    hello = Hello(link_suite(int(vector["suite"]))).encode()
    assert hello.hex() == vector["hello"]
    prologue = handshake_prologue(
        hello,
        CarrierKind(int(vector["carrier"])),
        bytes.fromhex(str(vector["binding"])),
        bytes.fromhex(str(vector["responder_identity"])),
        "",
    )
    assert prologue.hex() == vector["prologue"]


def test_hello_with_cookie_and_solution_is_as_drawn() -> None:
    hello = Hello(link_suite(0x82), cookie=b"\xcc" * 32, solution=b"\x05" * 12)
    assert hello.encode().hex() == "018220" + "cc" * 32 + "0c" + "05" * 12


def test_retry_is_as_drawn() -> None:
    retry = Retry(PuzzleKind.SHA256, 4096, b"\xaa" * 16, b"\xcc" * 32)
    assert retry.encode().hex() == "0100001000" + "aa" * 16 + "cc" * 32


def test_packet_is_as_drawn() -> None:
    assert encode_packet(PacketKind.MESSAGE_2, b"xyz").hex() == "0004" + "03" + b"xyz".hex()


def test_another_network_has_another_prologue() -> None:
    ours, theirs = (
        handshake_prologue(b"\1\2\0\0", CarrierKind.PLAIN, bytes(32), bytes(32), network)
        for network in ("", "lab")
    )
    assert ours.startswith(b"\0\x10vigilnet v1 link\0\4")
    assert theirs.startswith(b"\0\x14vigilnet v1 link@lab\0\4")


@given(HELLOS, st.binary(max_size=40))
def test_hello_decodes_to_what_was_encoded(hello: Hello, rest: bytes) -> None:
    assert decode_hello(hello.encode() + rest) == (hello, len(hello.encode()))


@given(st.binary(max_size=80))
def test_any_octets_are_a_hello_or_the_peers_fault(data: bytes) -> None:
    try:
        hello, end = decode_hello(data)
    except RemoteProtocolError:
        return
    assert data[:end] == hello.encode()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "at least 4"),
        ("010200", "at least 4"),
        ("00020000", "version 0"),
        ("02020000", "version 2"),
        ("01000000", "suite"),
        ("01030000", "suite"),
        ("01800000", "suite"),
        ("01c21000", "suite"),
        ("010201aa00", "cookie of 1"),
        ("01021f" + "aa" * 31 + "00", "cookie of 31"),
        ("010221" + "aa" * 33 + "00", "cookie of 33"),
        ("010220" + "aa" * 31, "inside its cookie"),
        ("010220" + "aa" * 32, "before its solution"),
        ("0102000b" + "aa" * 11, "solution of 11"),
        ("0102000d" + "aa" * 13, "solution of 13"),
        ("0102000c" + "aa" * 11, "inside its solution"),
    ],
)
def test_bad_hellos_are_refused(data: str, what: str) -> None:
    with pytest.raises(RemoteProtocolError, match=what):
        decode_hello(bytes.fromhex(data))


@given(st.integers(0, MAX_EFFORT), st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_retry_decodes_to_what_was_encoded(effort: int, seed: bytes, cookie: bytes) -> None:
    retry = Retry(PuzzleKind.SHA256 if effort else PuzzleKind.NONE, effort, seed, cookie)
    assert decode_retry(retry.encode()) == retry


@given(st.binary(max_size=60))
def test_any_octets_are_a_retry_or_the_peers_fault(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert decode_retry(data).encode() == data


@pytest.mark.parametrize(
    ("head", "what"),
    [
        ("0200000000", "kind 2"),
        ("0100000000", "effort 0"),
        ("0000000001", "effort 1"),
        ("0100010001", "effort 65537"),
    ],
)
def test_bad_retries_are_refused(head: str, what: str) -> None:
    with pytest.raises(RemoteProtocolError, match=what):
        decode_retry(bytes.fromhex(head) + bytes(48))


def test_retry_of_the_highest_effort_is_taken() -> None:
    assert decode_retry(bytes.fromhex("0100010000") + bytes(48)).effort == MAX_EFFORT


@given(st.sampled_from(PacketKind), st.binary(max_size=100), st.binary(max_size=10))
def test_packet_decodes_to_what_was_encoded(kind: PacketKind, body: bytes, rest: bytes) -> None:
    packet = encode_packet(kind, body)
    assert decode_packet(packet + rest) == (kind, body, len(packet))
    for cut in range(len(packet)):
        assert decode_packet(packet[:cut]) is None


@given(st.binary(max_size=60))
def test_any_octets_are_a_packet_a_part_of_one_or_the_peers_fault(data: bytes) -> None:
    try:
        packet = decode_packet(data)
    except RemoteProtocolError:
        return
    if packet is not None:
        kind, body, size = packet
        assert data[:size] == encode_packet(kind, body)


def test_packets_are_refused_by_their_first_octets() -> None:
    for head in ("0000", "1001", "ffff", "000100", "000105", "0010ff"):
        with pytest.raises(RemoteProtocolError):
            decode_packet(bytes.fromhex(head))
    biggest = encode_packet(PacketKind.MESSAGE_3, bytes(MAX_PACKET - 1))
    assert decode_packet(biggest) == (PacketKind.MESSAGE_3, bytes(MAX_PACKET - 1), MAX_PACKET + 2)
