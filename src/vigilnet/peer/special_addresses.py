"""Addresses that are not of the public Internet (docs/spec/exit.md section 3).

An exit never dials them for others, nor does a node dial a peer there, but for its LAN and test networks.

The tables are the IANA special-purpose registries with what is deprecated or carries an IPv4
address inside. In IPv6 only 2000::/3 is global unicast, so everything else is special; that also
holds mapped (::ffff:0:0/96), compatible (::/96), local-use NAT64 (64:ff9b:1::/48), discard-only,
unique local, link-local and multicast addresses without a row each. `ipaddress.is_global` is not
used: it changed between Python's patch releases and calls 6to4 and mapped addresses global.

>>> from ipaddress import ip_address
>>> special_purpose(ip_address("192.168.1.1"))
'private use'
>>> special_purpose(ip_address("64:ff9b::c0a8:101"))
'private use'
>>> special_purpose(ip_address("2606:4700::1111")) is None
True
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

IpAddress = IPv4Address | IPv6Address

_IPV4: Final = tuple(
    (IPv4Network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private use"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),  # cloud metadata, 169.254.169.254, lies in here
        ("172.16.0.0/12", "private use"),
        ("192.0.0.0/24", "IETF protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay anycast"),
        ("192.168.0.0/16", "private use"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),  # and the broadcast address
    )
)
# By first octet: most addresses have nothing to be compared with.
_IPV4_BY_OCTET: Final = tuple(
    tuple(
        (int(network.network_address), int(network.netmask), name)
        for network, name in _IPV4
        if network.overlaps(IPv4Network((octet << 24, 8)))
    )
    for octet in range(256)
)
_IPV6_GLOBAL: Final = IPv6Network("2000::/3")
_IPV6: Final = tuple(
    (IPv6Network(network), name)
    for network, name in (
        ("2001::/23", "IETF protocol assignments"),  # Teredo, ORCHID, benchmarking
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3ffe::/16", "former 6bone"),
        ("3fff::/20", "documentation"),
    )
)
_IPV6_NAMED: Final = tuple(
    (IPv6Network(network), name)
    for network, name in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")

# What even a test network must not dial: nothing unicast answers there, or it means another address.
NEVER_UNICAST: Final = frozenset(
    {"this network", "multicast", "reserved", "unspecified", "not global unicast", "6to4"}
)


def embedded_ipv4(address: IpAddress) -> IPv4Address | None:
    """Return the IPv4 address that a NAT64 address (64:ff9b::/96) reaches, or None."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def special_purpose(address: IpAddress) -> str | None:
    """Name the special purpose of an address, or None for one of the public Internet.

    A NAT64 address is judged by the IPv4 address in it: behind a NAT64 the rest of the IPv4
    Internet is reached only that way.
    """
    if isinstance(address, IPv4Address):
        value = int(address)
        for network, mask, name in _IPV4_BY_OCTET[value >> 24]:
            if value & mask == network:
                return name
        return None
    inner = embedded_ipv4(address)
    if inner is not None:
        return special_purpose(inner)
    if address in _IPV6_GLOBAL:
        return next((name for network, name in _IPV6 if address in network), None)
    return next((name for network, name in _IPV6_NAMED if address in network), "not global unicast")


@lru_cache(4096)
def is_public(host: str) -> bool | None:
    """Whether a text is an address of the public Internet; None for a name.

    >>> [is_public(host) for host in ("1.1.1.1", "224.0.0.251", "64:ff9b::a00:1", "a.example")]
    [True, False, False, None]
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return special_purpose(mapped or address) is None
