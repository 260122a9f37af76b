"""Asking the router for a port by PCP and by NAT-PMP (sans-IO; RFC 6887 and RFC 6886).

    PCP MAP      2 ‖ 1 ‖ 0 2 ‖ u32 lifetime ‖ our address 16 ‖ nonce 12 ‖ 6 (TCP) ‖ 0 3
                 ‖ u16 port ‖ u16 outer port wished ‖ outer address wished 16                     60 octets
    its answer   2 ‖ 129 ‖ 0 ‖ u8 result ‖ u32 lifetime ‖ u32 epoch ‖ 0 12 ‖ nonce ... as above   60 octets
    NAT-PMP      0 ‖ 0
    its answer   0 ‖ 128 ‖ u16 result ‖ u32 epoch ‖ outer address 4
                 0 ‖ 2 ‖ 0 2 ‖ u16 port ‖ u16 outer port wished ‖ u32 lifetime
    its answer   0 ‖ 130 ‖ u16 result ‖ u32 epoch ‖ u16 port ‖ u16 outer port ‖ u32 lifetime

Addresses in 16 octets are IPv6, IPv4 as ::ffff:a.b.c.d. Both are spoken on UDP port 5351 of the router. An
answer counts only if it has the exact form and belongs to the question.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import RemoteProtocolError

SERVER_PORT: Final = 5351
NONCE_SIZE: Final = 12
MAX_ANSWER: Final = 1100  # octets that RFC 6887 lets a packet have
_TCP: Final = 6
_MAP, _ANSWER = 1, 0x80
_ADDRESS, _MAP_TCP = 0, 2  # of NAT-PMP
_PCP: Final = struct.Struct(">BB2xI16s12sB3xHH16s")
_PCP_ANSWER: Final = struct.Struct(">BBxBII12x12sB3xHH16s")
_PMP_MAP: Final = struct.Struct(">BBxxHHI")
_PMP_HEAD: Final = struct.Struct(">BBHI")
_PMP_ADDRESS: Final = struct.Struct(">BBHI4s")
_PMP_MAPPED: Final = struct.Struct(">BBHIHHI")
_UNSUPPORTED: Final = 1  # the version, in both


class UnsupportedError(RemoteProtocolError):
    """The router does not speak this version."""


class RefusedError(RemoteProtocolError):
    """The router understood and gives nothing."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the router gave."""

    host: str  # outer address
    port: int  # outer
    lifetime: int  # seconds


def pcp_request(nonce: bytes, ours: str, port: int, outer: int, lifetime: int) -> bytes:
    """Return a MAP request; lifetime 0 gives the port back."""
    address = b"\0" * 10 + b"\xff\xff" + ipaddress.IPv4Address(ours).packed
    anywhere = b"\0" * 10 + b"\xff\xff" + bytes(4)
    return _PCP.pack(2, _MAP, lifetime, address, nonce, _TCP, port, outer, anywhere)


def pcp_answer(octets: bytes, nonce: bytes, port: int) -> Given | None:
    """Return what a router's answer gives; None if it answers another question.

    Raises:
        UnsupportedError: the router speaks only NAT-PMP.
        RefusedError: it gives nothing.
        RemoteProtocolError: malformed.
    """
    if len(octets) >= 4 and octets[0] == 0:  # NAT-PMP's way to say so, RFC 6887 appendix A
        raise UnsupportedError("pcp: the router speaks another version")
    if len(octets) >= 24 and octets[:2] == bytes((2, _ANSWER | _MAP)) and octets[3] == _UNSUPPORTED:
        raise UnsupportedError("pcp: the router refuses our version")
    if not _PCP_ANSWER.size <= len(octets) <= MAX_ANSWER:  # options may follow
        raise RemoteProtocolError(f"pcp: an answer of {len(octets)} octets")
    version, code, result, lifetime, _, its_nonce, protocol, its_port, outer, packed = (
        _PCP_ANSWER.unpack_from(octets)
    )
    if (version, code) != (2, _ANSWER | _MAP):
        raise RemoteProtocolError("pcp: not an answer to MAP")
    if (its_nonce, protocol, its_port) != (nonce, _TCP, port):
        return None
    if result:
        raise RefusedError(f"pcp: refused, result {result}")
    address = ipaddress.IPv6Address(packed).ipv4_mapped
    if address is None or (lifetime and not outer):
        raise RemoteProtocolError("pcp: gives no address of IPv4, or no port")
    return Given(str(address), outer, lifetime)


def pmp_address_request() -> bytes:
    """Ask for the outer address."""
    return bytes((0, _ADDRESS))


def pmp_request(port: int, outer: int, lifetime: int) -> bytes:
    """Ask for a port; lifetime 0 gives it back."""
    return _PMP_MAP.pack(0, _MAP_TCP, port, outer, lifetime)


def pmp_address(octets: bytes) -> str | None:
    """Return the outer address of an answer; None if it answers another question; raises as `pmp_answer`."""
    if not _is_pmp(octets, _ADDRESS):
        return None
    _check(octets, _PMP_ADDRESS.size)
    return str(ipaddress.IPv4Address(_PMP_ADDRESS.unpack(octets)[4]))


def pmp_answer(octets: bytes, port: int) -> tuple[int, int] | None:
    """Return outer port and lifetime of an answer; None if it answers another question.

    Raises:
        UnsupportedError: the router does not speak NAT-PMP.
        RefusedError: it gives nothing.
        RemoteProtocolError: malformed.
    """
    if not _is_pmp(octets, _MAP_TCP):
        return None
    _check(octets, _PMP_MAPPED.size)
    *_, its_port, outer, lifetime = _PMP_MAPPED.unpack(octets)
    if its_port != port:
        return None
    if lifetime and not outer:
        raise RemoteProtocolError("nat-pmp: gives no port")
    return outer, lifetime


def _is_pmp(octets: bytes, code: int) -> bool:
    """Whether an answer is to a question of this kind; raises for what answers none, or refuses it."""
    if len(octets) < _PMP_HEAD.size:
        raise RemoteProtocolError(f"nat-pmp: an answer of {len(octets)} octets")
    version, its_code, result, _ = _PMP_HEAD.unpack_from(octets)
    if version or not its_code & _ANSWER:
        raise UnsupportedError("nat-pmp: the router speaks another protocol")
    if its_code != _ANSWER | code:
        return False
    if result == _UNSUPPORTED:
        raise UnsupportedError("nat-pmp: the router refuses our version")
    if result:
        raise RefusedError(f"nat-pmp: refused, result {result}")
    return True


def _check(octets: bytes, size: int) -> None:
    if len(octets) != size:
        raise RemoteProtocolError(f"nat-pmp: an answer of {len(octets)} octets, {size} expected")
