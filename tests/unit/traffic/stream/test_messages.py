from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.circuit import messages as c
from vigilnet.traffic.circuit.messages import DestroyReason
from vigilnet.traffic.stream import messages as m
from vigilnet.traffic.stream.wire import EndReason

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
ADDRESS = (
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
    .filter(lambda address: address.version == 4 or address.ipv4_mapped is None)
    .map(str)
)
NAME = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z]\.example", fullmatch=True)
TAG = st.binary(min_size=16, max_size=16)


class Body(Protocol):
    def encode(self) -> bytes: ...

    @classmethod
    def decode(cls, body: bytes | memoryview) -> object: ...


GOLDEN: list[tuple[Body, str]] = [
    (m.Target("example.org", 443), "060301bb0b" + b"example.org".hex()),
    (m.Target("::1", 53, m.Protocol.UDP, 15), "110f0035033a3a31"),
    (m.Target("", 0, m.Protocol.UDP), "1103000000"),
    (m.Target("192.0.2.1", 0, m.Protocol.ICMP), "0103000009" + b"192.0.2.1".hex()),
    (m.Connected(), ""),
    (m.Connected("192.0.2.1", 60), "04c00002010000003c"),
    (m.Connected("2001:db8::1", 3600), "0620010db800000000000000000000000100000e10"),
    (m.Resolve("a.example", 28), "001c09" + b"a.example".hex()),
    (m.Resolved(3), "0300"),
    (m.Resolved(0, (m.ResourceRecord(1, 60, b"\xc0\0\2\1"),), was_cut=True), "000100010000003c0004c0000201"),
    (m.Datagram("192.0.2.1", 53, b"hi"), "003504c00002016869"),
    (m.Datagram("::1", 65535, b""), "ffff06" + "00" * 15 + "01"),
    (m.Echo(False, 1, 2, b"x"), "000001000278"),
    (m.Echo(True, 65535, 65535, b""), "01ffffffff"),
    (c.Extend(bytes(range(32)), 5, b"body"), bytes(range(32)).hex() + "00000000000000050004" + b"body".hex()),
    (m.Sendme(28, bytes(16)), "0000001c" + "00" * 16),
    (c.PadNegotiate(0, 100, 600), "0000640258"),
    (c.Refusal(DestroyReason.CLOSED), "0100"),
    (c.Refusal(DestroyReason.PUZZLE, c.PuzzleDemand(bytes(16), 64)), "0314" + "00" * 16 + "00000040"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "octets"), GOLDEN, ids=lambda value: str(value)[:30])
def test_golden_bodies(message: Body, octets: str) -> None:
    assert message.encode().hex() == octets
    assert type(message).decode(bytes.fromhex(octets)) == message
    assert type(message).decode(memoryview(bytes.fromhex(octets))) == message


TARGETS = st.one_of(
    st.builds(m.Target, st.one_of(ADDRESS, NAME), U16, st.just(6), st.integers(0, 7)),
    st.builds(m.Target, st.one_of(ADDRESS, NAME), U16, st.just(17), st.integers(8, 15)),
    st.builds(m.Target, st.just(""), st.just(0), st.just(17), st.integers(0, 7)),
    st.builds(m.Target, st.one_of(ADDRESS, NAME), st.just(0), st.just(1), st.integers(0, 7)),
)
VALUES = st.one_of(
    TARGETS,
    st.builds(m.Connected, ADDRESS, U32),
    st.builds(m.Resolve, NAME, U16),
    st.builds(
        m.Resolved,
        U8,
        st.lists(st.builds(m.ResourceRecord, U16, U32, st.binary(max_size=64)), max_size=5).map(tuple),
        st.booleans(),
    ),
    st.builds(m.Datagram, ADDRESS, U16, st.binary(max_size=64)),
    st.builds(m.Echo, st.booleans(), U16, U16, st.binary(max_size=64)),
    st.builds(c.Extend, st.binary(min_size=32, max_size=32), U64, st.binary(max_size=1500)),
    st.builds(m.Sendme, U32, TAG),
    st.builds(c.PadNegotiate, U8, U16, U16),
    st.builds(c.Refusal, st.sampled_from([r for r in DestroyReason if r is not DestroyReason.PUZZLE])),
    st.builds(c.Refusal, st.just(DestroyReason.PUZZLE), st.builds(c.PuzzleDemand, TAG, U32)),
)
DECODERS: list[Callable[[bytes], Any]] = [
    m.Target.decode, m.Connected.decode, m.Resolve.decode, m.Resolved.decode, m.Datagram.decode,
    m.Echo.decode, c.Extend.decode, m.Sendme.decode, c.PadNegotiate.decode, c.Refusal.decode, m.decode_end,
    m.decode_credit, c.decode_record,
]  # fmt: skip


@given(VALUES)
def test_decode_undoes_encode_and_one_octet_more_is_never_the_same(value: Body) -> None:
    octets = value.encode()
    assert type(value).decode(octets) == value
    if not isinstance(value, m.Datagram | m.Echo):  # their payload takes any octets
        with pytest.raises(RemoteProtocolError):
            type(value).decode(octets + b"\0")
        if octets:
            with pytest.raises(RemoteProtocolError):
                type(value).decode(octets[:-1])


@given(st.sampled_from(DECODERS), st.one_of(st.binary(max_size=80), VALUES.map(lambda value: value.encode())))
def test_any_octets_parse_or_blame_the_peer(decode: Callable[[bytes], Any], octets: bytes) -> None:
    try:
        value = decode(octets)
    except RemoteProtocolError:
        return
    if hasattr(value, "encode"):
        assert value.encode() == octets


@pytest.mark.parametrize(
    "octets",
    ["0503005001" + "61", "0610005001" + "61", "0608005001" + "61", "0100005001" + "61", "1100005001" + "61",
     "1100005000", "060000500161" + "61", "0600005002" + "61", "06000050" + "00", "06000050"],
)  # fmt: skip
def test_begin_with_a_field_out_of_place_is_refused(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        m.Target.decode(bytes.fromhex(octets))


def test_begin_never_repeats_the_host_in_an_error() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        m.Target.decode(b"\x06\x03\x00\x50\x0bsecret host")
    assert "secret" not in str(caught.value)


def test_encoding_what_cannot_be_sent_is_our_own_bug() -> None:
    for wrong in (
        m.Target("", 1),
        m.Target("a b", 1),
        m.Target("a", 65536),
        m.Target("a", 1, 7),
        m.Target("a", 1, 6, 16),
        m.Resolve("a..b", 1),
        m.Datagram("name.example", 1, b""),
        c.Extend(bytes(32), 0, bytes(1501)),
    ):
        with pytest.raises(LocalProtocolError):
            wrong.encode()


def test_end_and_credit() -> None:
    for reason in EndReason:
        assert m.decode_end(m.encode_end(reason)) is reason
    for wrong in (b"", b"\x09", b"\0\0"):
        with pytest.raises(RemoteProtocolError):
            m.decode_end(wrong)
    assert m.decode_credit(m.encode_credit(2**64 - 1)) == 2**64 - 1
    for wrong in (bytes(7), bytes(9)):
        with pytest.raises(RemoteProtocolError):
            m.decode_credit(wrong)


def test_address_families_and_lengths_of_datagram_are_checked() -> None:
    for octets in ("", "0035", "003505c0000201", "003504c00002", "003506" + "00" * 15):
        with pytest.raises(RemoteProtocolError):
            m.Datagram.decode(bytes.fromhex(octets))


def test_extend_limit_is_1500_octets_of_create_body() -> None:
    assert len(c.Extend(bytes(32), 0, bytes(1500)).encode()) == 1542
    octets = bytes(32) + bytes(8) + (1501).to_bytes(2, "big") + bytes(1501)
    with pytest.raises(RemoteProtocolError):
        c.Extend.decode(octets)


def test_record_limit() -> None:
    assert c.decode_record(bytes(1024)) == bytes(1024)
    for size in (0, 1025):
        with pytest.raises(RemoteProtocolError):
            c.decode_record(bytes(size))


def test_empty_bodies_must_be_empty() -> None:
    m.check_empty(b"", "fin")
    with pytest.raises(RemoteProtocolError, match="fin"):
        m.check_empty(b"\0", "fin")


def test_refusal_data_only_comes_with_reason_puzzle() -> None:
    for octets in ("", "01", "0101", "010100", "0300", "0c00", "0313" + "00" * 19, "0114" + "00" * 20):
        with pytest.raises(RemoteProtocolError):
            c.Refusal.decode(bytes.fromhex(octets))


@given(st.binary(max_size=40))
def test_destroy_cell_is_read_without_ever_raising(octets: bytes) -> None:
    refusal = c.Refusal.from_cell(octets.ljust(2032, b"\xaa"))
    assert refusal.reason in DestroyReason


def test_destroy_cell_ignores_what_follows_the_data() -> None:
    refusal = c.Refusal(DestroyReason.PUZZLE, c.PuzzleDemand(bytes(range(16)), 9))
    assert c.Refusal.from_cell(refusal.encode().ljust(2032, b"\x77")) == refusal
    assert c.Refusal.from_cell(b"\x0c\0").reason is DestroyReason.PROTOCOL
