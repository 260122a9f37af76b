"""What a relay and its DHT process say to each other over two pipes (sans-IO).

The DHT's library reads packets of strangers in C++. So it has a process of its own, and what comes from there
is parsed as if it came from a stranger. Named tuples, for `dataclasses` would cost the process 3 MB.

    frame = u16 length ‖ u8 kind ‖ content                   length counts kind and content, 1 to 2048
    to the process                                       from the process
    1 BOOTSTRAP  u16 port ‖ host                         17 READY    u16 port
    2 PUT        key 20 ‖ value, 1 to 1024 octets        18 VALUE    u32 id ‖ value, 0 to 1024 octets
    3 WITHDRAW   key 20                                  19 DONE     u32 id ‖ u8 1 if anybody answered, else 0
    4 GET        u32 id ‖ key 20 ‖ u8 at most            20 REFUSED  reason, ASCII
    5 FORGET     u32 id
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError

MAX_FRAME: Final = 2048
MAX_VALUE: Final = 1024
MAX_REASON: Final = 200
KEY_SIZE: Final = 20
_HEAD: Final = struct.Struct(">HB")
_PORT: Final = struct.Struct(">H")
_ID: Final = struct.Struct(">I")


class Kind(IntEnum):
    """What a frame is."""

    BOOTSTRAP = 1
    PUT = 2
    WITHDRAW = 3
    GET = 4
    FORGET = 5
    READY = 17
    VALUE = 18
    DONE = 19
    REFUSED = 20


class Bootstrap(NamedTuple):
    """Try to join through a node."""

    host: str
    port: int


class Put(NamedTuple):
    """Publish a value."""

    key: bytes
    value: bytes


class Withdraw(NamedTuple):
    """Publish our value of a key no longer."""

    key: bytes


class Get(NamedTuple):
    """Look for values."""

    id: int
    key: bytes
    at_most: int


class Forget(NamedTuple):
    """Nobody waits for these values any more."""

    id: int


class Ready(NamedTuple):
    """The DHT runs."""

    port: int


class Value(NamedTuple):
    """A value was found."""

    id: int
    value: bytes


class Done(NamedTuple):
    """The look-up is over."""

    id: int
    is_answered: bool


class Refused(NamedTuple):
    """The DHT cannot run."""

    reason: str


Request = Bootstrap | Put | Withdraw | Get | Forget
Report = Ready | Value | Done | Refused
Frame = Request | Report


def encode_frame(frame: Frame) -> bytes:
    """Return the octets; LocalProtocolError for what is beyond a limit."""
    kind, content = _content(frame)
    if 1 + len(content) > MAX_FRAME:
        raise LocalProtocolError(f"dht process: a frame of {len(content)} octets")
    return _HEAD.pack(1 + len(content), kind) + content


def _content(frame: Frame) -> tuple[Kind, bytes]:
    match frame:
        case Bootstrap():
            return Kind.BOOTSTRAP, _PORT.pack(frame.port) + frame.host.encode("ascii")
        case Put():
            return Kind.PUT, _checked_key(frame.key) + frame.value
        case Withdraw():
            return Kind.WITHDRAW, _checked_key(frame.key)
        case Get():
            return Kind.GET, _ID.pack(frame.id) + _checked_key(frame.key) + bytes((frame.at_most,))
        case Forget():
            return Kind.FORGET, _ID.pack(frame.id)
        case Ready():
            return Kind.READY, _PORT.pack(frame.port)
        case Value():
            return Kind.VALUE, _ID.pack(frame.id) + frame.value
        case Done():
            return Kind.DONE, _ID.pack(frame.id) + bytes((frame.is_answered,))
        case Refused():
            return Kind.REFUSED, frame.reason.encode("ascii", "replace")[:MAX_REASON]


def _checked_key(key: bytes) -> bytes:
    if len(key) != KEY_SIZE:
        raise LocalProtocolError(f"dht process: a key of {len(key)} octets")
    return key


class FrameReader:
    """Cuts a pipe's octets into frames of one direction; keeps at most one incomplete one."""

    def __init__(self, *, is_relay: bool) -> None:
        self._is_relay = is_relay  # which reads reports
        self._octets = b""

    def feed(self, octets: bytes) -> list[Frame]:
        """Return the frames that are complete now.

        Raises:
            RemoteProtocolError: malformed, beyond a limit, or of the other direction.
        """
        self._octets += octets
        found: list[Frame] = []
        while len(self._octets) >= _HEAD.size:
            length, kind = _HEAD.unpack_from(self._octets)
            if not 1 <= length <= MAX_FRAME:
                raise RemoteProtocolError(f"dht process: a frame of {length} octets")
            end = _HEAD.size - 1 + length
            if (kind >= Kind.READY) is not self._is_relay:
                raise RemoteProtocolError(f"dht process: kind {kind} from there")
            if len(self._octets) < end:
                break
            found.append(_decode(kind, self._octets[_HEAD.size : end]))
            self._octets = self._octets[end:]
        return found


def _decode(kind: int, content: bytes) -> Frame:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise RemoteProtocolError(f"dht process: kind {kind} is unknown")
    try:
        return decoder(content)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise RemoteProtocolError(f"dht process: kind {kind}, malformed") from error


def _decode_bootstrap(content: bytes) -> Bootstrap:
    return Bootstrap(content[_PORT.size :].decode("ascii"), _PORT.unpack_from(content)[0])


def _decode_put(content: bytes) -> Put:
    _expect(content, KEY_SIZE + 1, KEY_SIZE + MAX_VALUE)
    return Put(content[:KEY_SIZE], content[KEY_SIZE:])


def _decode_withdraw(content: bytes) -> Withdraw:
    _expect(content, KEY_SIZE, KEY_SIZE)
    return Withdraw(content)


def _decode_get(content: bytes) -> Get:
    _expect(content, _ID.size + KEY_SIZE + 1, _ID.size + KEY_SIZE + 1)
    return Get(_ID.unpack_from(content)[0], content[_ID.size : -1], content[-1])


def _decode_forget(content: bytes) -> Forget:
    _expect(content, _ID.size, _ID.size)
    return Forget(_ID.unpack(content)[0])


def _decode_ready(content: bytes) -> Ready:
    _expect(content, _PORT.size, _PORT.size)
    return Ready(_PORT.unpack(content)[0])


def _decode_value(content: bytes) -> Value:
    _expect(content, _ID.size, _ID.size + MAX_VALUE)
    return Value(_ID.unpack_from(content)[0], content[_ID.size :])


def _decode_done(content: bytes) -> Done:
    _expect(content, _ID.size + 1, _ID.size + 1)
    if content[-1] > 1:
        raise RemoteProtocolError("dht process: done, neither 0 nor 1")
    return Done(_ID.unpack_from(content)[0], content[-1] == 1)


def _decode_refused(content: bytes) -> Refused:
    _expect(content, 0, MAX_REASON)
    return Refused(content.decode("ascii"))


def _expect(content: bytes, least: int, most: int) -> None:
    if not least <= len(content) <= most:
        raise RemoteProtocolError(f"dht process: {len(content)} octets, {least} to {most} expected")


_DECODERS: Final[dict[int, Callable[[bytes], Frame]]] = {
    Kind.BOOTSTRAP: _decode_bootstrap,
    Kind.PUT: _decode_put,
    Kind.WITHDRAW: _decode_withdraw,
    Kind.GET: _decode_get,
    Kind.FORGET: _decode_forget,
    Kind.READY: _decode_ready,
    Kind.VALUE: _decode_value,
    Kind.DONE: _decode_done,
    Kind.REFUSED: _decode_refused,
}
