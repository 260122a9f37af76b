"""Where a node can be reached: a transport, a binary multiaddr and the transport's parameters.

A multiaddr is a chain of components, `uvarint code ‖ [uvarint length] ‖ value` (multiformats):

    ip4 4: 4 octets     dns 53, dns4 54, dns6 55: length ‖ name     quic-v1 461: nothing
    ip6 41: 16 octets   tcp 6, udp 273: u16                                p2p 421: length ‖ peer id

A record of a newer node may name transports and components unknown here: they are kept octet for
octet, within the limits, and have no `host` (docs/spec/peer.md section 2).
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from vigilnet.base.codec import Value
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.identity import PEER_ID_HEAD, PUBLIC_SIZE
from vigilnet.peer.special_addresses import is_public

MAX_MULTIADDR_SIZE: Final = 256
MAX_NAME_LENGTH: Final = 253
MAX_COMPONENTS: Final = 16

_IP4, _TCP, _UDP, _IP6, _DNS, _DNS4, _DNS6, _QUIC = 4, 6, 273, 41, 53, 54, 55, 461
_PEER_HEAD: Final = bytes((0xA5, 0x03, len(PEER_ID_HEAD) + PUBLIC_SIZE)) + PEER_ID_HEAD  # of component 421
_PEER_COMPONENT: Final = len(_PEER_HEAD) + PUBLIC_SIZE
_SIZES: Final = {_IP4: 4, _TCP: 2, _UDP: 2, _IP6: 16, _QUIC: 0}
_NAMES: Final = (_DNS, _DNS4, _DNS6)
_NAME: Final = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class TransportKind(IntEnum):
    """What carries a link, by its number in a record."""

    TCP = 1
    HTX = 2
    QUIC = 3
    PLUGGABLE = 4
    SHADOWSOCKS = 5
    BLUETOOTH = 6
    VIA = 7  # not dialled: a neighbour that introduces (docs/spec/discovery.md section 11)


_NOT_DIALLED: Final = (TransportKind.BLUETOOTH, TransportKind.VIA)
_PORT_CODES: Final = {
    TransportKind.TCP: (_TCP,),
    TransportKind.HTX: (_TCP,),
    TransportKind.QUIC: (_UDP, _QUIC),
    TransportKind.PLUGGABLE: (_TCP,),
    TransportKind.SHADOWSOCKS: (_TCP,),
}


@dataclass(frozen=True)
class PeerAddress:
    """One address of a record.

    `host` is an IP address in its usual text or a lower-case name, and `port` is 1 to 65535; both are
    empty when the address cannot be dialled by what is known here. A VIA address has an introducer and no
    port; its host, if any, is the router's that the relay is behind. Sensitive: never logged as it is.
    """

    transport: int  # a TransportKind, or the number of a transport unknown here
    multiaddr: bytes
    params: Mapping[int, Value] = field(default_factory=dict)
    host: str = ""
    port: int = 0
    introducer: bytes = b""  # identity, of VIA addresses alone

    @classmethod
    def parse(
        cls, transport: int, multiaddr: bytes, params: Mapping[int, Value] | None = None
    ) -> "PeerAddress":
        """Read the address that a record gives.

        Raises:
            RemoteProtocolError: malformed multiaddr.
        """
        kind = TransportKind(transport) if transport in set(TransportKind) else transport
        introducer = b""
        if not isinstance(kind, TransportKind) or kind in _NOT_DIALLED:
            host, port = "", 0
            if not 0 < len(multiaddr) <= MAX_MULTIADDR_SIZE:
                raise RemoteProtocolError(
                    f"multiaddr: {len(multiaddr)} octets, 1 to {MAX_MULTIADDR_SIZE} expected"
                )
            if kind is TransportKind.VIA:
                host, introducer = _introduction(multiaddr)
        else:
            host, port = _endpoint(kind, parse_components(multiaddr))
        return cls(kind, multiaddr, params or {}, host, port, introducer)

    @classmethod
    def build(
        cls, transport: TransportKind, host: str, port: int, params: Mapping[int, Value] | None = None
    ) -> "PeerAddress":
        """Make the address of our own listener or of one that the user named.

        Args:
            transport: any kind that has a host and a port.
            host: an IPv4 or IPv6 address, or a host name.
            port: 1 to 65535.
            params: the transport's parameters.

        Raises:
            LocalProtocolError: not a host or port, or a transport without them.
        """
        if transport not in _PORT_CODES or not 0 < port < 65536:
            raise LocalProtocolError("address: no such port, or a transport without ports")
        port_code, *suffix = _PORT_CODES[transport]
        try:
            # a zone as in fe80::1%eth0 means nothing to anyone else
            multiaddr = _host_component(host.replace("%", "/")) + _uvarint(port_code) + port.to_bytes(2)
            return cls.parse(transport, multiaddr + b"".join(map(_uvarint, suffix)), params)
        except (RemoteProtocolError, UnicodeError) as error:
            raise LocalProtocolError("address: neither an ip address nor a host name") from error

    @classmethod
    def tcp(cls, host: str, port: int) -> "PeerAddress":
        """Make a plain TCP address."""
        return cls.build(TransportKind.TCP, host, port)

    @classmethod
    def via(cls, introducer: bytes, host: str = "") -> "PeerAddress":
        """Make the address of a relay that nobody can dial, and that a neighbour introduces.

        Args:
            introducer: the neighbour's identity.
            host: the address from which the neighbour sees us dial; "" while it has not said so.
        """
        where = _host_component(host) if host else b""
        return cls.parse(TransportKind.VIA, where + _PEER_HEAD + introducer)

    @property
    def is_global(self) -> bool:
        """Whether the host is an IP address that the whole Internet can reach; False for names."""
        return bool(is_public(self.host))


def prefix_of(host: str) -> str:
    """Return what limits per prefix count: the /24 of an IPv4 address, the /48 of an IPv6 one, else the text.

    >>> [prefix_of(host) for host in ("192.0.2.77", "2001:db8:1:2::3", "::ffff:192.0.2.1", "a.example")]
    ['192.0.2.0/24', '2001:db8:1::/48', '192.0.2.0/24', 'a.example']
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 48), strict=False))
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24), strict=False))


def parse_components(multiaddr: bytes) -> list[tuple[int, bytes]]:
    """Split a binary multiaddr into (code, value) pairs, up to the first code unknown here.

    The size of an unknown component is unknown, too: it comes last, with all the octets that follow
    it as its value.

    Raises:
        RemoteProtocolError: empty, too long, a length or value cut, or a value that is not one.
    """
    if not 0 < len(multiaddr) <= MAX_MULTIADDR_SIZE:
        raise RemoteProtocolError(f"multiaddr: {len(multiaddr)} octets, 1 to {MAX_MULTIADDR_SIZE} expected")
    components: list[tuple[int, bytes]] = []
    at = 0
    while at < len(multiaddr):
        code, at = _read_uvarint(multiaddr, at)
        if code in _NAMES:
            size, at = _read_uvarint(multiaddr, at)
        else:
            size = _SIZES.get(code, len(multiaddr) - at)
        if at + size > len(multiaddr) or len(components) == MAX_COMPONENTS:
            raise RemoteProtocolError("multiaddr: component runs past the end, or too many")
        value = multiaddr[at : at + size]
        _check_value(code, value)
        components.append((code, value))
        at += size
    return components


def _check_value(code: int, value: bytes) -> None:
    if code in (_TCP, _UDP) and not any(value):
        raise RemoteProtocolError("multiaddr: port 0")
    if code == _IP6 and ipaddress.IPv6Address(value).ipv4_mapped is not None:
        raise RemoteProtocolError("multiaddr: ipv4 address inside ipv6")
    if code in _NAMES and not is_host_name(value.decode("ascii", "replace")):
        raise RemoteProtocolError("multiaddr: not a host name")


def is_host_name(text: str) -> bool:
    """Whether `text` is a lower-case DNS name that no resolver could take for an IP address."""
    return (
        0 < len(text) <= MAX_NAME_LENGTH
        and _NAME.fullmatch(text) is not None
        and _NUMERIC_LABEL.fullmatch(text.rpartition(".")[2]) is None
    )


def _endpoint(transport: TransportKind, components: Sequence[tuple[int, bytes]]) -> tuple[str, int]:
    """Host and port if the components are just those that `transport` dials, else ("", 0)."""
    (host_code, host), *rest = components
    port_code, *suffix = _PORT_CODES[transport]
    if host_code not in (_IP4, _IP6, *_NAMES) or [code for code, _ in rest[:1]] != [port_code]:
        return "", 0
    if [code for code, _ in rest[1:]] not in ([], suffix):
        return "", 0
    text = host.decode("ascii") if host_code in _NAMES else str(ipaddress.ip_address(host))
    return text, int.from_bytes(rest[0][1])


def _introduction(multiaddr: bytes) -> tuple[str, bytes]:
    """Host and introducer if the components are `[ip4|ip6] p2p`, else ("", b"")."""
    where, head = multiaddr[:-_PEER_COMPONENT], multiaddr[-_PEER_COMPONENT:-PUBLIC_SIZE]
    if head != _PEER_HEAD:
        return "", b""
    if not where:
        return "", multiaddr[-PUBLIC_SIZE:]
    try:
        (code, host), *rest = parse_components(where)
    except RemoteProtocolError:
        return "", b""
    if rest or code not in (_IP4, _IP6):
        return "", b""
    return str(ipaddress.ip_address(host)), multiaddr[-PUBLIC_SIZE:]


def _host_component(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().encode("ascii")
        return _uvarint(_DNS) + _uvarint(len(name)) + name
    return _uvarint(_IP4 if address.version == 4 else _IP6) + address.packed


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_uvarint(data: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned varint of the shortest form, at most 4 octets."""
    number = 0
    for index, octet in enumerate(data[at : at + 4]):
        number |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            if index and not octet:
                break
            return number, at + index + 1
    raise RemoteProtocolError("multiaddr: varint cut, too long or not the shortest")
