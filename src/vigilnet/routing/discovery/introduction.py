"""What relays say to have one that nobody can dial dial them (docs/spec/discovery.md section 11).

frame     = u8 kind ‖ u16 length ‖ content ‖ padding, ignored        the body of link frame type 6
16 HOLD       nothing                                    relay → introducer
17 HELD       u8 status ‖ endpoint                       introducer → relay: where it sees the relay dial from
18 INTRODUCE  nonce 8 ‖ u8 flags ‖ identity 32           asker → introducer
19 CALL       nonce 8 ‖ u8 flags ‖ endpoint ‖ record     introducer → relay: the asker's
20 ANSWER     nonce 8 ‖ u8 status ‖ endpoint             relay → introducer → asker: the relay's
endpoint  = u8 0 | u8 4 ‖ address 4 ‖ u16 port | u8 6 ‖ address 16 ‖ u16 port       port 0: not known
"""

import ipaddress
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.peer.identity import PUBLIC_SIZE

HEAD_SIZE: Final = 3
NONCE_SIZE: Final = 8
FIRST_KIND, LAST_KIND = 16, 31  # of frames that are for this room and not for gossip
_ADDRESS_SIZES: Final = {0: 0, 4: 4, 6: 16}
_PORT_SIZE: Final = 2


class Kind(IntEnum):
    """What a frame is."""

    HOLD = 16
    HELD = 17
    INTRODUCE = 18
    CALL = 19
    ANSWER = 20


class Flags(IntFlag):
    """What is said of an asker; unknown bits are ignored."""

    BEHIND = 1  # it cannot be dialled either


NO_FLAGS: Final = Flags(0)


class HeldStatus(IntEnum):
    """Whether a neighbour introduces us."""

    HELD = 0
    FULL = 1
    NO = 2


class AnswerStatus(IntEnum):
    """What the relay that was called does."""

    DIALLING = 0
    PUNCHING = 1  # both dial the other's endpoint at once
    REFUSED = 2
    NOT_HERE = 3  # said by the introducer
    LIMIT = 4  # said by the introducer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where somebody is seen; an empty host: not known, port 0: not known. Sensitive."""

    host: str = ""
    port: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it can be dialled."""
        return bool(self.host and self.port)

    def encode(self) -> bytes:
        """Return the octets; LocalProtocolError if the host is no address."""
        if not self.host:
            return b"\0"
        try:
            address = ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError as error:
            raise LocalProtocolError("endpoint: not an address") from error
        return bytes((address.version,)) + address.packed + self.port.to_bytes(_PORT_SIZE, "big")


@dataclass(frozen=True, slots=True)
class Hold:
    """Introduce me."""


@dataclass(frozen=True, slots=True)
class Held:
    """Whether we introduce you, and where we see you."""

    status: HeldStatus
    endpoint: Endpoint = Endpoint()


@dataclass(frozen=True, slots=True)
class Introduce:
    """Ask this relay to dial me."""

    nonce: bytes
    identity: bytes
    flags: Flags = NO_FLAGS


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody asks you to dial him."""

    nonce: bytes
    record: bytes
    endpoint: Endpoint = Endpoint()
    flags: Flags = NO_FLAGS


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes of it."""

    nonce: bytes
    status: AnswerStatus
    endpoint: Endpoint = Endpoint()


Frame = Hold | Held | Introduce | Call | Answer


def is_introduction(body: bytes) -> bool:
    """Whether the body of a GOSSIP frame is for this room."""
    return bool(body) and FIRST_KIND <= body[0] <= LAST_KIND


def encode_frame(frame: Frame) -> bytes:
    """Return the body of a GOSSIP frame; LocalProtocolError for what is beyond a limit."""
    match frame:
        case Hold():
            kind, content = Kind.HOLD, b""
        case Held():
            kind, content = Kind.HELD, bytes((frame.status,)) + frame.endpoint.encode()
        case Introduce():
            _check(frame.identity, PUBLIC_SIZE, "identity")
            kind, content = Kind.INTRODUCE, _nonce(frame.nonce) + bytes((frame.flags,)) + frame.identity
        case Call():
            if not 0 < len(frame.record) <= MAX_RECORD_SIZE:
                raise LocalProtocolError(f"call: a record of {len(frame.record)} octets")
            head = _nonce(frame.nonce) + bytes((frame.flags,)) + frame.endpoint.encode()
            kind, content = Kind.CALL, head + frame.record
        case Answer():
            head = _nonce(frame.nonce) + bytes((frame.status,))
            kind, content = Kind.ANSWER, head + frame.endpoint.encode()
    return bytes((kind,)) + len(content).to_bytes(2, "big") + content


def decode_frame(body: bytes) -> Frame:
    """Parse the body of a GOSSIP frame; what follows the content is padding.

    Raises:
        RemoteProtocolError: malformed, or of a kind that is not known.
    """
    if len(body) < HEAD_SIZE:
        raise RemoteProtocolError(f"introduction: {len(body)} octets, at least {HEAD_SIZE} expected")
    length = int.from_bytes(body[1:HEAD_SIZE], "big")
    content = body[HEAD_SIZE : HEAD_SIZE + length]
    if len(content) != length:
        raise RemoteProtocolError(f"introduction: {length} octets announced, {len(content)} there")
    match body[0]:
        case Kind.HOLD:
            _expect(content, 0, "hold")
            return Hold()
        case Kind.HELD:
            return _decode_held(content)
        case Kind.INTRODUCE:
            _expect(content, NONCE_SIZE + 1 + PUBLIC_SIZE, "introduce")
            flags = _flags(content[NONCE_SIZE])
            return Introduce(content[:NONCE_SIZE], content[NONCE_SIZE + 1 :], flags)
        case Kind.CALL:
            return _decode_call(content)
        case Kind.ANSWER:
            return _decode_answer(content)
        case _:
            raise RemoteProtocolError(f"introduction: kind {body[0]} is unknown")


def _decode_held(content: bytes) -> Held:
    if not content or content[0] not in set(HeldStatus):
        raise RemoteProtocolError("held: without a known status")
    endpoint, size = _decode_endpoint(content[1:])
    _expect(content, 1 + size, "held")
    return Held(HeldStatus(content[0]), endpoint)


def _decode_call(content: bytes) -> Call:
    if len(content) < NONCE_SIZE + 1:
        raise RemoteProtocolError("call: cut")
    head = NONCE_SIZE + 1
    endpoint, size = _decode_endpoint(content[head:])
    record = content[head + size :]
    if not 0 < len(record) <= MAX_RECORD_SIZE:
        raise RemoteProtocolError(f"call: a record of {len(record)} octets")
    return Call(content[:NONCE_SIZE], record, endpoint, _flags(content[NONCE_SIZE]))


def _decode_answer(content: bytes) -> Answer:
    head = NONCE_SIZE + 1
    if len(content) < head or content[NONCE_SIZE] not in set(AnswerStatus):
        raise RemoteProtocolError("answer: without a known status")
    endpoint, size = _decode_endpoint(content[head:])
    _expect(content, head + size, "answer")
    return Answer(content[:NONCE_SIZE], AnswerStatus(content[NONCE_SIZE]), endpoint)


def _decode_endpoint(octets: bytes) -> tuple[Endpoint, int]:
    """Return the endpoint at the beginning of `octets`, and how many it takes."""
    size = _ADDRESS_SIZES.get(octets[0]) if octets else None
    if size is None:
        raise RemoteProtocolError("endpoint: of an unknown kind")
    if not size:
        return Endpoint(), 1
    end = 1 + size + _PORT_SIZE
    if len(octets) < end:
        raise RemoteProtocolError("endpoint: cut")
    address = ipaddress.ip_address(octets[1 : 1 + size])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise RemoteProtocolError("endpoint: ipv4 address inside ipv6")
    return Endpoint(str(address), int.from_bytes(octets[1 + size : end], "big")), end


def _flags(octet: int) -> Flags:
    return Flags(octet & Flags.BEHIND)


def _nonce(nonce: bytes) -> bytes:
    _check(nonce, NONCE_SIZE, "nonce")
    return nonce


def _check(octets: bytes, size: int, what: str) -> None:
    if len(octets) != size:
        raise LocalProtocolError(f"introduction {what}: {len(octets)} octets, {size} expected")


def _expect(content: bytes, size: int, what: str) -> None:
    if len(content) != size:
        raise RemoteProtocolError(f"{what}: {len(content)} octets, {size} expected")
