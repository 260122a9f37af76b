"""Questions and answers of DNS, as far as this device answers them itself (sans-IO; docs/spec/device.md 8).

Only what applications send and need: one question, class IN. Everything else about a message is passed on
unread or refused. Layout: RFC 1035 section 4; EDNS: RFC 6891.
"""

import struct
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.messages import ResourceRecord
from vigilnet.traffic.stream.names import check_name

A, NS, CNAME, SOA, PTR, AAAA, OPT = 1, 2, 5, 6, 12, 28, 41
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
IN: Final = 1
MAX_UDP: Final = 1232  # octets of an answer by UDP, whatever the question allows
MIN_UDP: Final = 512
MAX_MESSAGE: Final = 65_535
MAX_QUESTION: Final = 4096  # octets of a whole query
MAX_NAMES: Final = 4096  # remembered addresses

_HEADER: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
_QUERY_MASK: Final = 0xF800  # QR and opcode: a query has zeros
_RD, _CD, _RA, _TC, _QR = 0x0100, 0x0010, 0x0080, 0x0200, 0x8000
_MAX_LABELS: Final = 128
_MAX_POINTERS: Final = 16
_HERE: Final = frozenset({"localhost", "localhost.localdomain"})
_NOWHERE: Final = frozenset({"local", "onion", "invalid", "lan", "home", "internal", "intranet"})


@dataclass(frozen=True, slots=True)
class Question:
    """One query of an application."""

    identifier: int
    flags: int
    name: str  # lower case, without its final dot
    kind: int
    raw: bytes  # the question section as it came, to be repeated
    has_edns: bool
    max_udp: int  # octets that the asker takes in one datagram

    @classmethod
    def decode(cls, octets: bytes) -> "Question":
        """Parse a query.

        Raises:
            RemoteProtocolError: not one plain question.
        """
        if not _HEADER.size <= len(octets) <= MAX_QUESTION:
            raise RemoteProtocolError(f"dns query: {len(octets)} octets, expected 12 to {MAX_QUESTION}")
        identifier, flags, questions, answers, authorities, more = _HEADER.unpack_from(octets)
        if flags & _QUERY_MASK or questions != 1 or answers or authorities:
            raise RemoteProtocolError("dns query: not one question")
        name, at = read_name(octets, _HEADER.size)
        if len(octets) - at < 4:
            raise RemoteProtocolError("dns query: cut short")
        kind, clas = struct.unpack_from(">HH", octets, at)
        if clas != IN:
            raise RemoteProtocolError("dns query: class is not IN")
        raw = octets[_HEADER.size : at + 4]
        max_udp, has_edns = _edns(octets, at + 4, more)
        return cls(identifier, flags, name.lower(), kind, raw, has_edns, max_udp)


def _edns(octets: bytes, at: int, count: int) -> tuple[int, bool]:
    for _ in range(min(count, 4)):
        kind, size, _, _, at = _read_record(octets, at)
        if kind == OPT:
            return min(max(size, MIN_UDP), MAX_UDP), True
    return MIN_UDP, False


def read_name(octets: bytes, at: int) -> tuple[str, int]:
    """Return a name as text, and where what follows it begins; pointers only lead back.

    Octets that a text cannot show are written as RFC 4343 does, so that two names never look alike.
    """
    labels: list[str] = []
    after = -1
    for _ in range(_MAX_LABELS + _MAX_POINTERS):
        if at >= len(octets):
            break
        length = octets[at]
        if length == 0:
            return ".".join(labels), after if after >= 0 else at + 1
        if length < 64:
            labels.append("".join(map(_character, octets[at + 1 : at + 1 + length])))
            at += 1 + length
            continue
        if length < 192 or at + 1 >= len(octets):
            break
        target = (length & 63) << 8 | octets[at + 1]
        if target >= at:
            break
        after = at + 2 if after < 0 else after
        at = target
    raise RemoteProtocolError("dns name: malformed")


def _character(octet: int) -> str:
    character = chr(octet)
    return character if 33 <= octet < 127 and character not in ".\\" else f"\\{octet:03d}"


def _read_record(octets: bytes, at: int) -> tuple[int, int, int, bytes, int]:
    _, at = read_name(octets, at)
    if len(octets) - at < _RECORD.size:
        raise RemoteProtocolError("dns record: cut short")
    kind, clas, ttl, length = _RECORD.unpack_from(octets, at)
    at += _RECORD.size
    if length > len(octets) - at:
        raise RemoteProtocolError("dns record: cut short")
    return kind, clas, ttl, octets[at : at + length], at + length


def answered_addresses(octets: bytes) -> tuple[str, list[str], int]:
    """Return (name asked, its addresses, their least TTL) of a server's answer; for what splits by name.

    Raises:
        RemoteProtocolError: not an answer.
    """
    if len(octets) < _HEADER.size:
        raise RemoteProtocolError("dns answer: cut short")
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(octets)
    if not flags & _QR or questions != 1:
        raise RemoteProtocolError("dns answer: not an answer to one question")
    name, at = read_name(octets, _HEADER.size)
    at += 4
    found: list[str] = []
    least = 3600
    for _ in range(min(answers, 256)):
        kind, clas, ttl, rdata, at = _read_record(octets, at)
        if clas == IN and (kind, len(rdata)) in ((A, 4), (AAAA, 16)):
            found.append(str(ip_address(rdata)))
            least = min(least, ttl)
    return name.lower(), found, least


def reply(
    question: Question, rcode: int, records: tuple[ResourceRecord, ...] = (), *, cut: bool = False, limit: int
) -> bytes:
    """Return the answer to a question.

    Args:
        question: repeated in it.
        rcode: how it went.
        records: each belongs to the name that was asked.
        cut: there would be more.
        limit: octets; what does not fit is left out, and the answer says so.
    """
    parts: list[bytes] = []
    extra = b"\x00" + _RECORD.pack(OPT, MAX_UDP, 0, 0) if question.has_edns else b""
    size = _HEADER.size + len(question.raw) + len(extra)
    for record in records:
        part = b"\xc0\x0c" + _RECORD.pack(record.type, IN, record.ttl, len(record.rdata)) + record.rdata
        if size + len(part) > limit:
            cut = True
            break
        size += len(part)
        parts.append(part)
    flags = _QR | (question.flags & (_RD | _CD)) | _RA | (_TC if cut else 0) | rcode
    head = _HEADER.pack(question.identifier, flags, 1, len(parts), 0, 1 if extra else 0)
    return b"".join((head, question.raw, *parts, extra))


def query(identifier: bytes, name: str, kind: int) -> bytes:
    """Return a plain query for a name; RemoteProtocolError if it is none."""
    wrong = check_name(name)
    if wrong:
        raise RemoteProtocolError(wrong)
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    return identifier + struct.pack(">HHHHH", _RD, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, IN)


def refusal(octets: bytes, rcode: int) -> bytes:
    """Return an answer to what could not be parsed; empty if not even a header is there."""
    if len(octets) < _HEADER.size or octets[2] & 0x80:
        return b""
    return octets[:2] + struct.pack(">HHHHH", _QR | _RA | rcode, 0, 0, 0, 0)


def local_answer(question: Question) -> tuple[int, tuple[ResourceRecord, ...]] | None:
    """Return the answer to what must never leave this device; None for all other names."""
    name = question.name
    if name in _HERE or name.endswith(".localhost"):
        loopback = {A: b"\x7f\0\0\x01", AAAA: bytes(15) + b"\x01"}.get(question.kind)
        return NOERROR, (ResourceRecord(question.kind, 3600, loopback),) if loopback else ()
    if name.rpartition(".")[2] in _NOWHERE or "." not in name or check_name(name):
        return NXDOMAIN, ()
    return None


class NameMemory:
    """Which name an address was resolved from, as long as the answer lives.

    An address that two names share is known by neither: which one is meant cannot be told.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def learn(self, name: str, addresses: list[str], until: float) -> None:
        """Remember an answer; `until` in the clock of `name_of`."""
        for address in addresses:
            known = self._names.pop(address, None)
            both = known is not None and known[0] not in ("", name)
            self._names[address] = ("" if both else name, until)
            if len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)

    def name_of(self, address: str, now: float) -> str:
        """Return the name, or an empty text."""
        name, until = self._names.get(address, ("", 0.0))
        return name if until > now else ""
