from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.ingress.socks5_udp import Datagram, decode_datagram, encode_datagram


def test_golden_datagrams() -> None:
    assert encode_datagram("192.0.2.1", 53, b"hi") == bytes([0, 0, 0, 1, 192, 0, 2, 1, 0, 53]) + b"hi"
    packed = IPv6Address("2001:db8::1").packed
    assert encode_datagram("2001:db8::1", 53, memoryview(b"")) == bytes([0, 0, 0, 4]) + packed + b"\x00\x35"
    named = bytes([0, 0, 0, 3, 11]) + b"example.com" + b"\x00\x35" + b"hi"
    assert decode_datagram(named) == Datagram("example.com", 53, b"hi")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(1, 65535), st.binary(max_size=100))
def test_decode_is_the_inverse_of_encode(
    address: IPv4Address | IPv6Address, port: int, payload: bytes
) -> None:
    found = decode_datagram(encode_datagram(str(address), port, payload))
    assert found == Datagram(str(getattr(address, "ipv4_mapped", None) or address), port, payload)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        bytes([0, 0, 0, 1, 1, 2, 3]),
        bytes([0, 0, 0, 1, 1, 2, 3, 4, 0]),
        bytes([1, 0, 0, 1, 1, 2, 3, 4, 0, 53]),
        bytes([0, 1, 0, 1, 1, 2, 3, 4, 0, 53]),
        bytes([0, 0, 1, 1, 1, 2, 3, 4, 0, 53]),
        bytes([0, 0, 128, 1, 1, 2, 3, 4, 0, 53]),
        bytes([0, 0, 0, 2, 1, 2, 3, 4, 0, 53]),
        bytes([0, 0, 0, 1, 1, 2, 3, 4, 0, 0]),
        bytes([0, 0, 0, 3, 0, 0, 53, 1]),
        bytes([0, 0, 0, 3, 200]) + b"short.example" + b"\x00\x35",
    ],
)
def test_malformed_datagrams_and_fragments_are_dropped(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_datagram(octets)


@given(st.binary(max_size=300))
def test_any_octets_are_a_datagram_or_refused(octets: bytes) -> None:
    try:
        decode_datagram(octets)
    except RemoteProtocolError:
        return
