"""Multiaddrs: those of multiformats, those that are dialled, and those kept verbatim."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer import address
from vigilnet.peer.address import PeerAddress, TransportKind, is_host_name, parse_components, prefix_of

MULTIFORMATS = Path(__file__).parents[2] / "vectors" / "multiformats"
V4 = bytes.fromhex("04c00002010601bb")


def test_example_of_multiformats() -> None:
    text = (MULTIFORMATS / "multiaddr.feature").read_text()
    packed = bytes.fromhex(re.findall(r"packed form is 0x([0-9a-f]+)", text)[0])
    assert parse_components(packed) == [(4, bytes([192, 0, 2, 42])), (6, bytes([1, 187]))]
    ours = PeerAddress.tcp("192.0.2.42", 443)
    assert ours.multiaddr == packed
    assert (ours.host, ours.port) == ("192.0.2.42", 443)


def test_sizes_agree_with_the_registry() -> None:
    registry = {}
    for line in (MULTIFORMATS / "multiaddr-protocols.csv").read_text().splitlines()[1:]:
        code, size, *_ = [part.strip() for part in line.split(",")]
        registry[int(code)] = size
    assert {code: str(8 * size) for code, size in address._SIZES.items()} == {
        code: registry[code] for code in address._SIZES
    }
    assert {registry[code] for code in address._NAMES} == {"V"}


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "2001:db8::1", "relay.example.org", "a", "xn--bcher-kva.example"]
)
@pytest.mark.parametrize(
    "kind", [TransportKind.TCP, TransportKind.HTX, TransportKind.QUIC, TransportKind.SHADOWSOCKS]
)
def test_built_addresses_parse_back(host: str, kind: TransportKind) -> None:
    built = PeerAddress.build(kind, host, 65535)
    assert PeerAddress.parse(int(kind), built.multiaddr) == built
    assert (built.host, built.port, built.transport) == (host, 65535, kind)


def test_names_are_lowered_and_zones_refused() -> None:
    assert PeerAddress.tcp("Relay.Example", 1).host == "relay.example"
    for host in ("fe80::1%eth0", "", "a..b", "-a", "bücher.example", "a b", "1.2.3", "0x7f.1", "x" * 254):
        with pytest.raises(LocalProtocolError):
            PeerAddress.tcp(host, 1)


def test_ports_and_kinds_without_them_are_refused() -> None:
    for port in (0, 65536, -1):
        with pytest.raises(LocalProtocolError):
            PeerAddress.tcp("192.0.2.1", port)
    with pytest.raises(LocalProtocolError):
        PeerAddress.build(TransportKind.BLUETOOTH, "192.0.2.1", 1)


@pytest.mark.parametrize(
    "multiaddr",
    [
        "",
        "04c00002",  # cut address
        "04c000020106",  # no port
        "04c0000201060000",  # port 0
        "8000",  # varint not the shortest
        "ffffffff0f",  # varint too long
        "ff",
        "29" + "00" * 10 + "ffff" + "c0000201" + "0601bb",  # IPv4 inside IPv6
        "3500",  # empty name
        "3503" + b"A.b".hex() + "0601bb",  # upper case: a second encoding
        "3505" + b"1.2.3".hex() + "0601bb",
        "350a" + b"2130706433".hex() + "0601bb",  # resolvers take it for 127.0.0.1
        "3504" + b"0x7f".hex() + "0601bb",
        "3510" + "61",  # name cut
        "35" + "61" * 3,
        "0601bb" * 17,
    ],
)
def test_malformed_multiaddrs_are_refused(multiaddr: str) -> None:
    with pytest.raises(RemoteProtocolError):
        PeerAddress.parse(TransportKind.TCP, bytes.fromhex(multiaddr))


def test_length_limits() -> None:
    assert PeerAddress.parse(77, b"x" * 256).host == ""
    for data in (b"", b"x" * 257):
        with pytest.raises(RemoteProtocolError):
            PeerAddress.parse(77, data)
        with pytest.raises(RemoteProtocolError):
            PeerAddress.parse(TransportKind.TCP, data)


@pytest.mark.parametrize(
    "multiaddr",
    [
        V4.hex() + "dd03",  # /ws after it
        "04c0000201910201bb",  # udp for tcp
        "04c0000201",  # no port
        "0601bb04c0000201",  # the wrong way round
        "bc03" + "00" * 12 + "0050",  # onion
        V4.hex() + "a503220024" + "00" * 34,  # /p2p after it
    ],
)
def test_what_is_not_dialled_is_kept_verbatim_without_host(multiaddr: str) -> None:
    kept = PeerAddress.parse(TransportKind.TCP, bytes.fromhex(multiaddr))
    assert (kept.host, kept.port, kept.multiaddr.hex()) == ("", 0, multiaddr)


def test_quic_with_and_without_its_component() -> None:
    plain = bytes.fromhex("04c0000201910201bb")
    for multiaddr in (plain, plain + bytes.fromhex("cd03")):
        assert PeerAddress.parse(TransportKind.QUIC, multiaddr).port == 443
    assert PeerAddress.parse(TransportKind.QUIC, V4).host == ""


def test_unknown_transports_and_bluetooth_are_opaque() -> None:
    for kind in (6, 7, 4000):
        kept = PeerAddress.parse(kind, b"\xff" * 40, {1: 2})
        assert (kept.transport, kept.host, kept.params) == (kind, "", {1: 2})


IDENTITY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")


@pytest.mark.parametrize(("name", "host"), [("via", "192.0.2.1"), ("via_without_host", "")])
def test_an_address_that_names_an_introducer(name: str, host: str) -> None:
    vectors = Path(__file__).parents[2] / "vectors" / "discovery" / "introduction.json"
    multiaddr = bytes.fromhex(json.loads(vectors.read_text())[name])
    assert PeerAddress.via(IDENTITY, host).multiaddr == multiaddr
    parsed = PeerAddress.parse(TransportKind.VIA, multiaddr)
    assert (parsed.introducer, parsed.host, parsed.port) == (IDENTITY, host, 0)


@pytest.mark.parametrize(
    "multiaddr",
    [
        b"\0",
        bytes.fromhex("a503260024080112") + bytes(33),  # another kind of key
        IDENTITY,
        bytes.fromhex("0604d2a50326002408011220") + IDENTITY,  # a port, and no address
        bytes.fromhex("04c00002010604d2a50326002408011220") + IDENTITY,  # an address with a port
        bytes.fromhex("04c000a50326002408011220") + IDENTITY,  # an address that is cut
    ],
)
def test_other_forms_of_it_are_kept_and_name_nobody(multiaddr: bytes) -> None:
    parsed = PeerAddress.parse(TransportKind.VIA, multiaddr)
    assert (parsed.introducer, parsed.host, parsed.multiaddr) == (b"", "", multiaddr)


@given(st.binary(max_size=300))
def test_any_octets_parse_or_blame_the_peer(data: bytes) -> None:
    try:
        components = parse_components(data)
    except RemoteProtocolError:
        return
    assert components
    PeerAddress.parse(TransportKind.TCP, data)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_ip_address_survives(host: object, port: int) -> None:
    if str(host).startswith("::ffff:"):
        return
    parsed = PeerAddress.parse(1, PeerAddress.tcp(str(host), port).multiaddr)
    assert (parsed.host, parsed.port) == (str(host), port)


def test_host_names() -> None:
    assert is_host_name("a" * 63 + ".b")
    assert not is_host_name("a" * 64 + ".b")
    assert is_host_name("_dmarc.example")
    assert not is_host_name("a.")
    assert not is_host_name("a\n")


def test_prefixes() -> None:
    assert prefix_of("203.0.113.9") == "203.0.113.0/24"
    assert prefix_of("fe80::1%eth0") == "fe80::/48"
    assert prefix_of("not an address") == "not an address"


def test_which_addresses_the_internet_reaches() -> None:
    assert PeerAddress.tcp("1.1.1.1", 1).is_global
    assert not PeerAddress.tcp("10.0.0.1", 1).is_global
    assert not PeerAddress.tcp("a.example", 1).is_global
    for multicast_or_inside in ("224.0.0.251", "ff02::fb", "64:ff9b::a00:1"):
        assert not PeerAddress.tcp(multicast_or_inside, 1).is_global
