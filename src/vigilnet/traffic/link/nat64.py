"""IPv4 relays from a network that has IPv6 alone: the addresses of its NAT64 (sans-IO).

RFC 7050: the network's name server answers `ipv4only.arpa`, which has no IPv6 address, with one that holds
a known IPv4 address; what is before it is the prefix. RFC 6052 section 2.2: where the IPv4 address lies.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

NAME: Final = "ipv4only.arpa"
_KNOWN: Final = (IPv4Address("192.0.0.170").packed, IPv4Address("192.0.0.171").packed)
_PLACES: Final = {
    96: (12, 13, 14, 15),
    64: (9, 10, 11, 12),
    56: (7, 9, 10, 11),
    48: (6, 7, 9, 10),
    40: (5, 6, 7, 9),
    32: (4, 5, 6, 7),
}
"""Which octets of the address hold the IPv4 address, by the prefix's length; the one at 8 is always zero."""


def find_prefix(answers: Iterable[str]) -> IPv6Network | None:
    """Return the prefix that AAAA records of `NAME` tell; None: no NAT64 here.

    >>> find_prefix(["64:ff9b::c000:aa"])
    IPv6Network('64:ff9b::/96')
    """
    for text in answers:
        address = ip_address(text)
        for length, places in _PLACES.items():
            if address.version == 6 and bytes(address.packed[place] for place in places) in _KNOWN:
                return IPv6Network((address.packed, length), strict=False)
    return None


def embed(prefix: IPv6Network, host: str) -> str:
    """Return the IPv6 address by which the NAT64 reaches an IPv4 address.

    Raises:
        ValueError: `host` is none.

    >>> embed(IPv6Network("2001:db8:1::/48"), "192.0.2.33")
    '2001:db8:1:c000:2:2100::'
    """
    octets = bytearray(prefix.network_address.packed)
    for place, octet in zip(_PLACES[prefix.prefixlen], IPv4Address(host).packed, strict=True):
        octets[place] = octet
    return str(IPv6Address(bytes(octets)))
