"""Bodies of the messages of streams: values with `encode` and `decode` (docs/spec/circuit.md section 6).

DATA, PADDING and the payload of a connected DATAGRAM are plain octets; FIN and TRUNCATE are empty
(`check_empty`). Decoders take the body alone, are strict about every length and raise only
`RemoteProtocolError`.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import AddressValueError, IPv6Address
from typing import Final, Self

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.names import check_host, check_name, ipv4_text, pack_ipv4
from vigilnet.traffic.stream.wire import EndReason

# From the specification.
RECORD_TAG_SIZE: Final = 16

_BEGIN: Final = struct.Struct(">BBHB")
_RESOLVE: Final = struct.Struct(">HB")
_ANSWER: Final = struct.Struct(">HIH")
_SENDME: Final = struct.Struct(">I16s")
_ECHO: Final = struct.Struct(">BHH")

Octets = bytes | memoryview


class Protocol(IntEnum):
    """Protocol numbers of BEGIN, as IP has them."""

    ICMP = 1
    TCP = 6
    UDP = 17


class BeginFlag(IntFlag):
    """What the client allows and prefers."""

    NONE = 0
    IPV4_OK = 1
    IPV6_OK = 2
    PREFER_IPV6 = 4
    CONNECTED_UDP = 8


ANY_FAMILY: Final = BeginFlag.IPV4_OK | BeginFlag.IPV6_OK

# As plain numbers: each stream is checked by them at both ends, and an enumeration's operators are slow.
_ICMP, _TCP, _UDP = int(Protocol.ICMP), int(Protocol.TCP), int(Protocol.UDP)
_CONNECTED_UDP: Final = int(BeginFlag.CONNECTED_UDP)
_UNKNOWN_FLAGS: Final = ~int(ANY_FAMILY | BeginFlag.PREFER_IPV6 | BeginFlag.CONNECTED_UDP)


def check_empty(body: Octets, what: str) -> None:
    """Refuse a body where there must be none (FIN, TRUNCATE)."""
    if len(body):
        raise RemoteProtocolError(f"{what}: {len(body)} octets of body, none expected")


def _head(body: Octets, form: struct.Struct, what: str) -> None:
    if len(body) < form.size:
        raise RemoteProtocolError(f"{what}: {len(body)} octets, at least {form.size} expected")


def _pack_address(address: str) -> bytes:
    packed = pack_ipv4(address)
    if packed is not None:
        return b"\x04" + packed
    try:
        return b"\x06" + IPv6Address(address).packed
    except AddressValueError as error:
        raise LocalProtocolError("address in a relay message: not an IP address") from error


def _take_address(body: Octets, at: int, what: str) -> tuple[str, int]:
    family = body[at] if at < len(body) else 0
    size = {4: 4, 6: 16}.get(family)
    if size is None:
        raise RemoteProtocolError(f"{what}: address family {family}, expected 4 or 6")
    packed = bytes(body[at + 1 : at + 1 + size])
    if len(packed) != size:
        raise RemoteProtocolError(f"{what}: {len(packed)} octets of address, expected {size}")
    return ipv4_text(packed) if size == 4 else str(IPv6Address(packed)), at + 1 + size


@dataclass(frozen=True, slots=True)
class Target:
    """BEGIN: where a stream shall go, `u8 proto ‖ u8 flags ‖ u16 port ‖ u8 len ‖ host`.

    `host` is a name or the canonical text of an address. It is empty, and the port 0, only for udp
    without the flag CONNECTED_UDP: there each DATAGRAM names its own end.
    """

    host: str
    port: int
    proto: int = Protocol.TCP
    flags: int = ANY_FAMILY

    def encode(self) -> bytes:
        """Return the body; LocalProtocolError if a field does not fit (see `fault`)."""
        wrong = self.fault()
        if wrong:
            raise LocalProtocolError(f"begin: {wrong}")
        return _BEGIN.pack(self.proto, self.flags, self.port, len(self.host)) + self.host.encode("ascii")

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body of BEGIN."""
        _head(body, _BEGIN, "begin")
        proto, flags, port, length = _BEGIN.unpack_from(body)
        raw = bytes(body[_BEGIN.size :])
        if len(raw) != length:
            raise RemoteProtocolError(f"begin: {len(raw)} octets of host, {length} announced")
        target = cls(raw.decode("latin-1"), port, proto, flags)
        wrong = target.fault()
        if wrong:
            raise RemoteProtocolError(f"begin: {wrong}")
        return target

    def fault(self) -> str:
        """Say what is wrong with this target, or return an empty text; never repeats the host."""
        flags = int(self.flags)
        if self.proto not in (_ICMP, _TCP, _UDP):
            return f"protocol {self.proto}, expected 1, 6 or 17"
        if flags & _UNKNOWN_FLAGS:
            return f"flags {flags:#x}, unknown bits set"
        is_udp = self.proto == _UDP
        if flags & _CONNECTED_UDP and not is_udp:
            return "flag for connected udp on another protocol"
        if not 0 <= self.port <= 0xFFFF or (self.port and self.proto == _ICMP):
            return f"port {self.port}"
        if is_udp and not flags & _CONNECTED_UDP:
            return "unconnected udp with a host or port" if self.host or self.port else ""
        return check_host(self.host)


@dataclass(frozen=True, slots=True)
class Connected:
    """CONNECTED: `u8 4/6 ‖ address ‖ u32 TTL`, or empty when the exit tells no address."""

    address: str = ""
    ttl: int = 0

    def encode(self) -> bytes:
        """Return the body."""
        return _pack_address(self.address) + self.ttl.to_bytes(4, "big") if self.address else b""

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        if not len(body):
            return cls()
        address, at = _take_address(body, 0, "connected")
        if len(body) - at != 4:
            raise RemoteProtocolError(f"connected: {len(body)} octets, expected {at + 4}")
        return cls(address, int.from_bytes(body[at:], "big"))


def encode_end(reason: EndReason) -> bytes:
    """Return the body of END."""
    return bytes([reason])


def decode_end(body: Octets) -> EndReason:
    """Parse the body of END, `u8 reason`."""
    if len(body) != 1:
        raise RemoteProtocolError(f"end: {len(body)} octets, expected 1")
    try:
        return EndReason(body[0])
    except ValueError as error:
        raise RemoteProtocolError(f"end: unknown reason {body[0]}") from error


def encode_credit(offset: int) -> bytes:
    """Return the body of CREDIT: the highest octet offset that the other end may send up to."""
    return offset.to_bytes(8, "big")


def decode_credit(body: Octets) -> int:
    """Parse the body of CREDIT, `u64 offset`."""
    if len(body) != 8:
        raise RemoteProtocolError(f"credit: {len(body)} octets, expected 8")
    return int.from_bytes(body, "big")


@dataclass(frozen=True, slots=True)
class Resolve:
    """RESOLVE: `u16 DNS type ‖ u8 len ‖ name`."""

    name: str
    qtype: int

    def encode(self) -> bytes:
        """Return the body; LocalProtocolError if the name cannot be asked for."""
        wrong = check_name(self.name)
        if wrong:
            raise LocalProtocolError(f"resolve: {wrong}")
        return _RESOLVE.pack(self.qtype, len(self.name)) + self.name.encode("ascii")

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        _head(body, _RESOLVE, "resolve")
        qtype, length = _RESOLVE.unpack_from(body)
        raw = bytes(body[_RESOLVE.size :])
        if len(raw) != length:
            raise RemoteProtocolError(f"resolve: {len(raw)} octets of name, {length} announced")
        name = raw.decode("latin-1")
        wrong = check_name(name)
        if wrong:
            raise RemoteProtocolError(f"resolve: {wrong}")
        return cls(name, qtype)


@dataclass(frozen=True, slots=True)
class ResourceRecord:
    """One DNS record of an answer; names inside `rdata` are uncompressed."""

    type: int
    ttl: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Resolved:
    """RESOLVED: `u8 rcode ‖ u8 flags (1 cut short) ‖ n * (u16 type ‖ u32 TTL ‖ u16 len ‖ RDATA)`.

    No records and rcode 0 mean that the name has none of this type.
    """

    rcode: int
    records: tuple[ResourceRecord, ...] = ()
    was_cut: bool = False

    def encode(self) -> bytes:
        """Return the body."""
        parts = [bytes([self.rcode, int(self.was_cut)])]
        for record in self.records:
            parts += (_ANSWER.pack(record.type, record.ttl, len(record.rdata)), record.rdata)
        return b"".join(parts)

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        if len(body) < 2 or body[1] > 1:
            raise RemoteProtocolError(f"resolved: {len(body)} octets or unknown flags")
        records = []
        at, size = 2, len(body)
        while at < size:
            if size - at < _ANSWER.size:
                raise RemoteProtocolError(f"resolved: {size - at} octets left, no record")
            kind, ttl, length = _ANSWER.unpack_from(body, at)
            at += _ANSWER.size
            if length > size - at:
                raise RemoteProtocolError(f"resolved: {length} octets of data announced, {size - at} left")
            records.append(ResourceRecord(kind, ttl, bytes(body[at : at + length])))
            at += length
        return cls(body[0], tuple(records), bool(body[1]))


@dataclass(frozen=True, slots=True)
class Datagram:
    """DATAGRAM of unconnected udp: `u16 port ‖ u8 4/6 ‖ address ‖ payload`."""

    host: str
    port: int
    payload: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return self.port.to_bytes(2, "big") + _pack_address(self.host) + self.payload

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        host, at = _take_address(body, 2, "datagram")
        return cls(host, int.from_bytes(body[:2], "big"), bytes(body[at:]))


@dataclass(frozen=True, slots=True)
class Echo:
    """ECHO: `u8 0 request, 1 reply ‖ u16 id ‖ u16 sequence ‖ payload`."""

    is_reply: bool
    identifier: int
    sequence: int
    payload: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return _ECHO.pack(self.is_reply, self.identifier, self.sequence) + self.payload

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        _head(body, _ECHO, "echo")
        kind, identifier, sequence = _ECHO.unpack_from(body)
        if kind > 1:
            raise RemoteProtocolError(f"echo: kind {kind}, expected 0 or 1")
        return cls(bool(kind), identifier, sequence, bytes(body[_ECHO.size :]))


@dataclass(frozen=True, slots=True)
class Sendme:
    """SENDME: `u32 count ‖ tag 16`, both of the record that crossed a multiple."""

    count: int
    tag: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return _SENDME.pack(self.count & 0xFFFF_FFFF, self.tag)

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        if len(body) != _SENDME.size:
            raise RemoteProtocolError(f"sendme: {len(body)} octets, expected {_SENDME.size}")
        return cls(*_SENDME.unpack(body))
