from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.peer.special_addresses import embedded_ipv4, is_public, special_purpose


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        ("0.0.0.0", "0.255.255.255", "this network"),  # noqa: S104 - a target
        ("10.0.0.0", "10.255.255.255", "private use"),
        ("100.64.0.0", "100.127.255.255", "carrier-grade NAT"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("169.254.0.0", "169.254.255.255", "link-local"),
        ("172.16.0.0", "172.31.255.255", "private use"),
        ("192.0.0.0", "192.0.0.255", "IETF protocol assignments"),
        ("192.0.2.0", "192.0.2.255", "documentation"),
        ("192.88.99.0", "192.88.99.255", "6to4 relay anycast"),
        ("192.168.0.0", "192.168.255.255", "private use"),
        ("198.18.0.0", "198.19.255.255", "benchmarking"),
        ("198.51.100.0", "198.51.100.255", "documentation"),
        ("203.0.113.0", "203.0.113.255", "documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.255", "reserved"),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "IETF protocol assignments"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
        ("3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "former 6bone"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique local"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
    ],
)
def test_each_range_is_special_from_its_first_to_its_last_address(first: str, last: str, name: str) -> None:
    assert special_purpose(ip_address(first)) == name
    assert special_purpose(ip_address(last)) == name


@pytest.mark.parametrize(
    "text",
    [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "3ffd::1",
        "64:ff9b::8.8.8.8",
    ],
)
def test_neighbours_of_the_ranges_are_public(text: str) -> None:
    assert special_purpose(ip_address(text)) is None


@given(st.ip_addresses(v=4))
def test_a_nat64_address_is_as_special_as_the_ipv4_address_in_it(address: IPv4Address) -> None:
    nat64 = IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))
    assert special_purpose(nat64) == special_purpose(address)
    assert embedded_ipv4(nat64) == address


@given(st.ip_addresses(v=4))
def test_mapped_compatible_and_6to4_addresses_are_always_special(address: IPv4Address) -> None:
    for spelling in (f"::ffff:{address}", f"::{address}"):
        assert special_purpose(IPv6Address(spelling)) is not None
    assert special_purpose(IPv6Address(0x2002 << 112 | int(address) << 80)) == "6to4"


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_special(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_multicast or address.is_link_local or address.is_loopback:
        assert special_purpose(address) is not None


def test_only_nat64_embeds() -> None:
    assert embedded_ipv4(ip_address("1.2.3.4")) is None
    assert embedded_ipv4(ip_address("2606:4700::1")) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("1.1.1.1", True), ("2606:4700::1111", True), ("::ffff:1.1.1.1", True), ("::ffff:10.0.0.1", False),
     ("64:ff9b::101:101", True), ("64:ff9b::a00:1", False), ("224.0.0.251", False), ("ff02::fb%eth0", False),
     ("fe80::1%eth0", False), ("a.example", None), ("", None)],
)  # fmt: skip
def test_a_text_is_public_private_or_a_name(text: str, found: bool | None) -> None:
    assert is_public(text) is found
