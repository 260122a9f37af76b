"""Datagrams of SOCKS5's UDP ASSOCIATE (sans-IO; docs/spec/ingress.md section 2; RFC 1928 section 7).

     0          2          3      4            5
     | 0^2      | fragment | type | host | port u16 | payload |

Fragments are dropped, as the RFC allows.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.ingress.socks5 import decode_host

_SMALLEST: Final = 4 + 1 + 1 + 2  # a name of one letter


class Datagram(NamedTuple):
    """A payload and the far host it goes to or comes from."""

    host: str
    port: int
    payload: bytes


def decode_datagram(data: bytes) -> Datagram:
    """Read what the application sent.

    Raises:
        RemoteProtocolError: malformed, a fragment, or port 0.
    """
    if len(data) < _SMALLEST or data[0] or data[1]:
        raise RemoteProtocolError("socks datagram: malformed header")
    if data[2]:
        raise RemoteProtocolError("socks datagram: a fragment, expected a whole datagram")
    found = decode_host(data, 3)
    if found is None:
        raise RemoteProtocolError("socks datagram: header cut short")
    host, port, end = found
    if port == 0:
        raise RemoteProtocolError("socks datagram: port 0, expected 1 to 65535")
    return Datagram(host, port, data[end:])


def encode_datagram(host: str, port: int, payload: bytes | memoryview) -> bytes:
    """Return what the application receives; `host` is an address in text form."""
    address = IPv6Address(host) if ":" in host else IPv4Address(host)
    kind = 4 if address.version == 6 else 1
    return bytes((0, 0, 0, kind)) + address.packed + port.to_bytes(2) + payload
