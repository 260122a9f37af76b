"""Ways in which packets get out of a host that thinks it is protected, each as a function of a few lines.

A probe only tries: whether it got out is the sniffer's to say. It is run within the host's namespace by a
thread that has entered it, must not wait longer than a moment, and may raise OSError (being refused is fine).
"""

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FAR4, FAR6 = "203.0.113.9", "2001:db8:9::9"
SO_BINDTODEVICE = 25
IP_HDRINCL = 3
MSG_FASTOPEN = 0x20000000
_CONNECT_S = 0.15


@dataclass(frozen=True)
class Where:
    """The host that is probed."""

    interface: str
    mac: bytes
    router_mac: bytes
    own4: str
    own6: str
    near4: str  # another host on the same wire
    near6: str
    broadcast: str


Probe = Callable[[Where], None]
PROBES: Final[dict[str, Probe]] = {}


def _probe(name: str) -> Callable[[Probe], Probe]:
    def kept(function: Probe) -> Probe:
        assert name not in PROBES
        PROBES[name] = function
        return function

    return kept


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _tcp(host: str, port: int, *, device: str = "", source: str = "") -> None:
    with socket.socket(_family(host), socket.SOCK_STREAM) as sock:
        sock.settimeout(_CONNECT_S)
        if device:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device.encode())
        if source:
            sock.bind((source, 0))
        with contextlib.suppress(TimeoutError):
            sock.connect((host, port))
            sock.sendall(b"leak")


def _udp(
    host: str, port: int, payload: bytes = b"leak", *, device: str = "", source: str = "", **options: int
) -> None:
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if options.get("broadcast"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if "hops" in options:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options["hops"])
        if device:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device.encode())
        if source:
            sock.bind((source, 0))
        scope = socket.if_nametoindex(device) if device and ":" in host else 0
        where = (host, port, 0, scope) if ":" in host else (host, port)
        for _ in range(2):
            sock.sendto(payload, where)


def _raw(host: str, protocol: int, payload: bytes, *, device: str = "") -> None:
    with socket.socket(_family(host), socket.SOCK_RAW, protocol) as sock:
        sock.setblocking(False)
        if device:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device.encode())
        scope = socket.if_nametoindex(device) if device and ":" in host else 0
        sock.sendto(payload, (host, 0, 0, scope) if ":" in host else (host, 0))


def _ping(host: str, *, device: str = "", size: int = 32) -> None:
    if ":" in host:
        _raw(host, socket.IPPROTO_ICMPV6, struct.pack(">BBHHH", 128, 0, 0, 1, 1) + bytes(size), device=device)
    else:
        message = struct.pack(">BBHHH", 8, 0, 0xF7FD, 1, 1) + bytes(size)
        _raw(host, socket.IPPROTO_ICMP, message, device=device)


def _frame(where: Where, kind: int, payload: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((where.interface, 0))
        sock.send(where.router_mac + where.mac + struct.pack(">H", kind) + payload)


def _ipv4(source: str, target: str, protocol: int, body: bytes) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 9, 0, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(target),
    )  # fmt: skip
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack(">H", 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))) + header[12:] + body


QUERY = bytes.fromhex("12340100000100000000000007636f6e74616374076578616d706c650000010001")

for _version, _far in (("IPv4", FAR4), ("IPv6", FAR6)):
    PROBES.update(
        {
            f"{_version} TCP to a web server": lambda w, h=_far: _tcp(h, 80),  # type: ignore[misc]
            f"{_version} TCP to an odd port": lambda w, h=_far: _tcp(h, 47_123),  # type: ignore[misc]
            f"{_version} UDP to an odd port": lambda w, h=_far: _udp(h, 47_123),  # type: ignore[misc]
            f"{_version} QUIC": lambda w, h=_far: _udp(h, 443, bytes(1200)),  # type: ignore[misc]
            f"{_version} STUN": lambda w, h=_far: _udp(h, 3478, b"\0\1\0\0\x21\x12\xa4\x42"),  # type: ignore[misc]
            f"{_version} UDP in fragments": lambda w, h=_far: _udp(h, 4000, bytes(5000)),  # type: ignore[misc]
            f"{_version} NTP": lambda w, h=_far: _udp(h, 123, bytes(48)),  # type: ignore[misc]
            f"{_version} ping": lambda w, h=_far: _ping(h),  # type: ignore[misc]
            f"{_version} ping in fragments": lambda w, h=_far: _ping(h, size=4000),  # type: ignore[misc]
            f"{_version} TCP bound to the interface": lambda w, h=_far: _tcp(h, 80, device=w.interface),  # type: ignore[misc]
            f"{_version} UDP bound to the interface": lambda w, h=_far: _udp(h, 4000, device=w.interface),  # type: ignore[misc]
            f"{_version} ping bound to the interface": lambda w, h=_far: _ping(h, device=w.interface),  # type: ignore[misc]
            f"{_version} DNS over TLS": lambda w, h=_far: _tcp(h, 853),  # type: ignore[misc]
            f"{_version} DNS over QUIC": lambda w, h=_far: _udp(h, 853, bytes(1200)),  # type: ignore[misc]
            f"{_version} DNS bound to the interface": lambda w, h=_far: _udp(  # type: ignore[misc]
                h, 53, QUERY, device=w.interface
            ),
            f"{_version} SCTP": lambda w, h=_far: _raw(h, 132, bytes(32)),  # type: ignore[misc]
            f"{_version} ESP": lambda w, h=_far: _raw(h, 50, bytes(32)),  # type: ignore[misc]
        }
    )


@_probe("IPv4 TCP from the real source address")
def _tcp_source4(where: Where) -> None:
    _tcp(FAR4, 80, source=where.own4)


@_probe("IPv6 TCP from the real source address")
def _tcp_source6(where: Where) -> None:
    _tcp(FAR6, 80, source=where.own6)


@_probe("IPv4 UDP from the real source address")
def _udp_source4(where: Where) -> None:
    _udp(FAR4, 4000, source=where.own4)


@_probe("IPv6 UDP from the real source address")
def _udp_source6(where: Where) -> None:
    _udp(FAR6, 4000, source=where.own6)


@_probe("IPv4 UDP to a host on the same wire")
def _near4(where: Where) -> None:
    _udp(where.near4, 4000)


@_probe("IPv6 UDP to a host on the same wire")
def _near6(where: Where) -> None:
    _udp(where.near6, 4000)


@_probe("IPv4 TCP to a host on the same wire")
def _near_tcp4(where: Where) -> None:
    _tcp(where.near4, 80)


@_probe("mDNS, IPv4")
def _mdns4(where: Where) -> None:
    _udp("224.0.0.251", 5353, QUERY, device=where.interface)


@_probe("mDNS, IPv6")
def _mdns6(where: Where) -> None:
    _udp("ff02::fb", 5353, QUERY, device=where.interface)


@_probe("LLMNR")
def _llmnr(where: Where) -> None:
    _udp("224.0.0.252", 5355, QUERY, device=where.interface)


@_probe("SSDP")
def _ssdp(where: Where) -> None:
    _udp("239.255.255.250", 1900, b"M-SEARCH * HTTP/1.1\r\n\r\n", device=where.interface)


@_probe("broadcast to everybody")
def _broadcast(where: Where) -> None:
    _udp("255.255.255.255", 4000, device=where.interface, broadcast=1)


@_probe("NetBIOS to the network's broadcast address")
def _netbios(where: Where) -> None:
    _udp(where.broadcast, 137, bytes(50), device=where.interface, broadcast=1)


@_probe("joining a group, IGMP")
def _igmp(where: Where) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack(
            "4s4si", socket.inet_aton("239.1.2.3"), bytes(4), socket.if_nametoindex(where.interface)
        )
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


@_probe("ping of all nodes, IPv6")
def _all_nodes(where: Where) -> None:
    _ping("ff02::1", device=where.interface)


@_probe("traceroute's first packet")
def _traceroute(where: Where) -> None:
    _udp(FAR4, 33_434, hops=1)


@_probe("raw IPv4 with a header of its own")
def _own_header(where: Where) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        body = struct.pack(">HHHH", 1, 4000, 12, 0) + b"leak"
        sock.sendto(_ipv4(where.own4, FAR4, 17, body), (FAR4, 0))


@_probe("raw IPv4 with a source that is not ours")
def _spoofed(where: Where) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        body = struct.pack(">HHHH", 1, 4000, 12, 0) + b"leak"
        sock.sendto(_ipv4("198.51.100.7", FAR4, 17, body), (FAR4, 0))


@_probe("packet socket, an IPv4 packet")
def _packet_ipv4(where: Where) -> None:
    _frame(where, 0x0800, _ipv4(where.own4, FAR4, 17, struct.pack(">HHHH", 1, 4000, 12, 0) + b"leak"))


@_probe("packet socket, a DNS question")
def _packet_dns(where: Where) -> None:
    body = struct.pack(">HHHH", 1000, 53, 8 + len(QUERY), 0) + QUERY
    _frame(where, 0x0800, _ipv4(where.own4, FAR4, 17, body))


@_probe("packet socket, an IPv6 packet")
def _packet_ipv6(where: Where) -> None:
    ends = socket.inet_pton(socket.AF_INET6, where.own6) + socket.inet_pton(socket.AF_INET6, FAR6)
    body = struct.pack(">HHHH", 1, 4000, 12, 0) + b"leak"
    _frame(where, 0x86DD, struct.pack(">IHBB", 6 << 28, len(body), 17, 64) + ends + body)


@_probe("packet socket, a protocol of its own")
def _packet_other(where: Where) -> None:
    _frame(where, 0x88B5, b"leak" * 12)


@_probe("TCP fast open")
def _fast_open(where: Where) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.sendto(b"leak", MSG_FASTOPEN, (FAR4, 80))


@_probe("an IPv4 target on an IPv6 socket")
def _mapped(where: Where) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.sendto(b"leak", (f"::ffff:{FAR4}", 4000))


@_probe("the tunnel's mark set by somebody without the right to")
def _forged_mark(where: Where) -> None:
    """Root may set marks; what matters is that a program without rights may not, which the kernel sees to."""
    _udp(FAR4, 4001)
