"""IP packets of a TUN interface with virtio headers: read, answered, made (sans-IO, hot path).

     0      1     2         4         6           8             10
     | flags | gso | hdr_len | gso_size | csum_start | csum_offset | IP packet
       u8      u8    u16 little-endian each                           up to 64 KiB

With segmentation offload one read or write carries many datagrams of one size; with checksum offload the
kernel sums. RFC 791, 792, 8200, 4443, 768; linux/virtio_net.h.
"""

import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from vigilnet.base.errors import RemoteProtocolError

VNET_SIZE: Final = 10
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
GSO_NONE: Final = 0
GSO_UDP_L4: Final = 5
NEEDS_CHECKSUM: Final = 1
MAX_PACKET: Final = 65_535
MAX_FRAGMENTED: Final = 64  # packets being put together
FRAGMENT_LIFE_S: Final = 2.0

_VNET: Final = struct.Struct("<BBHHHH")
_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_IPV6: Final = struct.Struct(">IHBB16s16s")
_UDP: Final = struct.Struct(">HHHH")
_ICMP: Final = struct.Struct(">BBHHH")
_TCP: Final = struct.Struct(">HHIIBBHHH")
_VNET_PLAIN: Final = bytes(VNET_SIZE)
_HOP_LIMIT: Final = 64
_SKIPPED: Final = frozenset({0, 43, 60})  # IPv6 extension headers that change nothing for us
_MAX_ERROR: Final = {4: 548, 6: 1232}  # octets of the packet that an ICMP error repeats


class Packet(NamedTuple):
    """Where the parts of one packet lie; `octets` without the virtio header."""

    octets: memoryview
    version: int
    protocol: int
    source: bytes
    target: bytes
    body_at: int
    end: int
    gso_size: int
    hop_limit: int
    fragment: tuple[int, int, bool] | None  # identification, offset, more follow

    @property
    def body(self) -> memoryview:
        """What is behind the IP headers."""
        return self.octets[self.body_at : self.end]


def parse(read: memoryview) -> Packet:
    """Return one packet as read from the interface, virtio header first.

    Raises:
        RemoteProtocolError: not a whole IP packet.
    """
    if len(read) < VNET_SIZE + 20:
        raise RemoteProtocolError(f"packet: {len(read)} octets, no IP packet")
    gso_size = (read[4] | read[5] << 8) if read[1] else 0
    octets = read[VNET_SIZE:]
    if octets[0] >> 4 == 4:
        return _parse_ipv4(octets, gso_size)
    if octets[0] >> 4 == 6 and len(octets) >= 40:
        return _parse_ipv6(octets, gso_size)
    raise RemoteProtocolError("packet: neither IPv4 nor IPv6")


def _parse_ipv4(octets: memoryview, gso_size: int) -> Packet:
    header = (octets[0] & 15) * 4
    end = octets[2] << 8 | octets[3]
    if header < 20 or not header <= end <= len(octets):
        raise RemoteProtocolError("packet: lengths of its IPv4 header are wrong")
    word = octets[6] << 8 | octets[7]
    fragment = None
    if word & 0x3FFF:
        fragment = (octets[4] << 8 | octets[5], (word & 0x1FFF) * 8, bool(word & 0x2000))
    return Packet(
        octets, 4, octets[9], bytes(octets[12:16]), bytes(octets[16:20]), header, end, gso_size, octets[8],
        fragment,
    )  # fmt: skip


def _parse_ipv6(octets: memoryview, gso_size: int) -> Packet:
    end = 40 + (octets[4] << 8 | octets[5])
    if end > len(octets):
        raise RemoteProtocolError("packet: length of its IPv6 header is wrong")
    protocol, at = octets[6], 40
    fragment = None
    for _ in range(8):
        if protocol in _SKIPPED and end - at >= 8:
            protocol, at = octets[at], at + 8 * (octets[at + 1] + 1)
        elif protocol == 44 and fragment is None and end - at >= 8:
            word = octets[at + 2] << 8 | octets[at + 3]
            number = int.from_bytes(octets[at + 4 : at + 8], "big")
            protocol, at = octets[at], at + 8
            if word & 0xFFF9:
                fragment = (number, word & 0xFFF8, bool(word & 1))
                break
        else:
            break
        if at > end:
            raise RemoteProtocolError("packet: an IPv6 extension header is too long")
    return Packet(
        octets, 6, protocol, bytes(octets[8:24]), bytes(octets[24:40]), at, end, gso_size, octets[7], fragment
    )


class Reassembly:
    """Puts fragments together again: applications may send more than the interface takes at once."""

    def __init__(self) -> None:
        self._parts: OrderedDict[tuple[bytes, bytes, int, int], _Parts] = OrderedDict()

    def add(self, packet: Packet, now: float) -> Packet | None:
        """Take one fragment; return the whole packet once all are there."""
        if packet.fragment is None:
            return packet
        number, offset, more = packet.fragment
        key = (packet.source, packet.target, packet.protocol, number)
        while self._parts and now - next(iter(self._parts.values())).at > FRAGMENT_LIFE_S:
            self._parts.popitem(last=False)
        parts = self._parts.get(key)
        if parts is None:
            if len(self._parts) >= MAX_FRAGMENTED:
                self._parts.popitem(last=False)
            parts = self._parts[key] = _Parts(now)
        body = parts.add(offset, bytes(packet.body), more=more)
        if body is None:
            return None
        del self._parts[key]
        octets = memoryview(bytes(packet.octets[: packet.body_at]) + body)
        return packet._replace(octets=octets, end=len(octets), fragment=None)


class _Parts:
    def __init__(self, at: float) -> None:
        self.at = at
        self._have: dict[int, bytes] = {}
        self._size = -1

    def add(self, offset: int, octets: bytes, *, more: bool) -> bytes | None:
        if offset + len(octets) > MAX_PACKET or len(self._have) >= 128:
            return None
        self._have[offset] = octets
        if not more:
            self._size = offset + len(octets)
        whole = bytearray()
        while len(whole) in self._have and len(whole) != self._size:
            part = self._have[len(whole)]
            if not part:
                return None
            whole += part
        return bytes(whole) if len(whole) == self._size else None


def datagrams_of(packet: Packet) -> tuple[int, int, list[bytes]]:
    """Return (source port, target port, payloads) of a UDP packet, which may be many in one.

    Raises:
        RemoteProtocolError: no whole UDP header.
    """
    octets, at, end = packet.octets, packet.body_at, packet.end
    if end - at < 8:
        raise RemoteProtocolError("packet: no UDP header")
    source, target = octets[at] << 8 | octets[at + 1], octets[at + 2] << 8 | octets[at + 3]
    size = packet.gso_size
    if not size or end - at - 8 <= size:
        return source, target, [bytes(octets[at + 8 : end])]
    return (
        source,
        target,
        [bytes(octets[piece : min(piece + size, end)]) for piece in range(at + 8, end, size)],
    )


class UdpMaker:
    """Makes the packets of one direction of one flow.

    Args:
        source: packed address.
        target: packed address of the same family.
        source_port: 0 to 65535.
        target_port: 0 to 65535.
    """

    __slots__ = ("_pseudo", "_source", "_source_port", "_target", "_target_port")

    def __init__(self, source: bytes, target: bytes, source_port: int, target_port: int) -> None:
        self._source, self._target = source, target
        self._source_port, self._target_port = source_port, target_port
        self._pseudo = words_sum(source + target) + UDP

    def packet(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Return the pieces of one packet, to be written at once.

        Args:
            payloads: as `stream.segments.mergeable` allows, one size but the last, maybe shorter.
        """
        size = sum(map(len, payloads))
        segment = len(payloads[0]) if len(payloads) > 1 else 0
        header = 20 if len(self._source) == 4 else 40
        length = 8 + size
        vnet = _VNET.pack(
            NEEDS_CHECKSUM, GSO_UDP_L4 if segment else GSO_NONE, (header + 8) if segment else 0, segment,
            header, 6,
        )  # fmt: skip
        udp = _UDP.pack(
            self._source_port, self._target_port, length & 0xFFFF, _fold(self._pseudo + length) & 0xFFFF
        )
        return [vnet, _ip_header(self._source, self._target, UDP, length), udp, *payloads]


def summed(pieces: Sequence[bytes | memoryview]) -> bytes:
    """Return one packet without its virtio header and with its checksum, for interfaces that do not sum."""
    whole = b"".join(pieces)
    flags, _, _, _, start, offset = _VNET.unpack_from(whole)
    if not flags & NEEDS_CHECKSUM:
        return whole[VNET_SIZE:]
    packet = bytearray(whole[VNET_SIZE:])
    total = _fold(words_sum(bytes(packet[start:]))) ^ 0xFFFF
    packet[start + offset : start + offset + 2] = (total or 0xFFFF).to_bytes(2, "big")  # of UDP 0 means none
    return bytes(packet)


def echo_of(packet: Packet) -> tuple[int, int, bytes] | None:
    """Return (identifier, sequence, payload) of an echo request; None if it is something else."""
    body = packet.body
    if len(body) < 8 or body[1] or body[0] != (8 if packet.version == 4 else 128):
        return None
    return body[4] << 8 | body[5], body[6] << 8 | body[7], bytes(body[8:])


def echo_reply(source: bytes, target: bytes, identifier: int, sequence: int, payload: bytes) -> list[bytes]:
    """Return the pieces of an echo reply from `source`."""
    kind = 0 if len(source) == 4 else 129
    return _icmp(source, target, kind, 0, _ICMP.pack(0, 0, 0, identifier, sequence)[4:] + payload)


class Refusal(NamedTuple):
    """Type and code of an ICMP error, for IPv4 and IPv6."""

    ipv4: tuple[int, int]
    ipv6: tuple[int, int]


NO_PORT: Final = Refusal((3, 3), (1, 4))
NO_HOST: Final = Refusal((3, 1), (1, 3))
NO_ROUTE: Final = Refusal((3, 0), (1, 0))
NO_PROTOCOL: Final = Refusal((3, 2), (4, 1))
PROHIBITED: Final = Refusal((3, 13), (1, 1))
TOO_FAR: Final = Refusal((11, 0), (3, 0))


def refuse(packet: Packet, refusal: Refusal, source: bytes | None = None) -> list[bytes]:
    """Return the pieces of an ICMP error about a packet; nothing for errors and what went to many.

    Args:
        packet: the one that is refused.
        refusal: why.
        source: who says so; the packet's target if left out.
    """
    if not _may_be_refused(packet):
        return []
    kind, code = refusal.ipv4 if packet.version == 4 else refusal.ipv6
    rest = 6 if refusal is NO_PROTOCOL and packet.version == 6 else 0  # where the bad octet is
    repeated = bytes(packet.octets[: min(packet.end, _MAX_ERROR[packet.version])])
    body = rest.to_bytes(4, "big") + repeated
    return _icmp(source or packet.target, packet.source, kind, code, body)


def _may_be_refused(packet: Packet) -> bool:
    """RFC 1122 3.2.2, RFC 4443 2.4 (e)."""
    if packet.fragment is not None and packet.fragment[1]:
        return False
    first = packet.target[0]
    if packet.version == 4:
        if first >= 224 or (packet.protocol == ICMP and bytes(packet.body[:1]) != b"\x08"):
            return False
    elif first == 0xFF or (packet.protocol == ICMPV6 and bytes(packet.body[:1]) < b"\x80"):
        return False
    return True


def reset(packet: Packet) -> list[bytes]:
    """Return the pieces of a TCP reset that answers a packet; nothing for a reset."""
    body = packet.body
    if len(body) < 20 or body[13] & 0x04:
        return []
    source, target, sequence, acknowledged, offset, flags, _, _, _ = _TCP.unpack_from(body)
    if flags & 0x10:
        number, ours, answer = acknowledged, 0, 0x04
    else:
        size = len(body) - (offset >> 4) * 4 + bool(flags & 0x02) + bool(flags & 0x01)
        number, ours, answer = 0, (sequence + size) & 0xFFFF_FFFF, 0x14
    tcp = _TCP.pack(target, source, number, ours, 0x50, answer, 0, 0, 0)
    total = words_sum(packet.target + packet.source) + TCP + len(tcp) + words_sum(tcp)
    tcp = tcp[:16] + (_fold(total) ^ 0xFFFF).to_bytes(2, "big") + tcp[18:]
    return [_VNET_PLAIN, _ip_header(packet.target, packet.source, TCP, len(tcp)), tcp]


def _icmp(source: bytes, target: bytes, kind: int, code: int, rest: bytes) -> list[bytes]:
    message = bytes((kind, code, 0, 0)) + rest
    total = words_sum(message)
    protocol = ICMP
    if len(source) == 16:
        protocol = ICMPV6
        total += words_sum(source + target) + ICMPV6 + len(message)
    message = message[:2] + (_fold(total) ^ 0xFFFF).to_bytes(2, "big") + message[4:]
    return [_VNET_PLAIN, _ip_header(source, target, protocol, len(message)), message]


def _ip_header(source: bytes, target: bytes, protocol: int, length: int) -> bytes:
    if len(source) == 16:
        return _IPV6.pack(0x6000_0000, length & 0xFFFF, protocol, _HOP_LIMIT, source, target)
    header = _IPV4.pack(0x45, 0, (20 + length) & 0xFFFF, 0, 0x4000, _HOP_LIMIT, protocol, 0, source, target)
    return header[:10] + (_fold(words_sum(header)) ^ 0xFFFF).to_bytes(2, "big") + header[12:]


def words_sum(octets: bytes) -> int:
    """Return the plain sum of 16-bit words, as checksums want it."""
    if len(octets) & 1:
        octets += b"\0"
    return sum(struct.unpack(f">{len(octets) // 2}H", octets))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
