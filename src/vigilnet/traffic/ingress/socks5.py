r"""SOCKS version 5 as a proxy speaks it (sans-IO; docs/spec/ingress.md section 1; RFC 1928, RFC 1929).

     client: | 5 | n | n methods |                        server: | 5 | method |
     client: | 1 | n | user n | m | password m |          server: | 1 | 0 |
     client: | 5 | command | 0 | type | host | port u16 |  server: | 5 | reply | 0 | type | host | port u16 |

Any name and password are accepted: they only choose which circuits the stream may share. Names go
to the exit as they are; nothing is resolved on this machine.

>>> machine = Socks5Machine()
>>> machine.receive(bytes([5, 1, 0])), machine.data_to_send()
(None, b'\x05\x00')
>>> machine.receive(bytes([5, 1, 0, 3, 11]) + b"example.com" + bytes([1, 187]) + b"hello")
SocksRequest(command=<SocksCommand.CONNECT: 1>, host='example.com', port=443, isolation='', early=b'hello')
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.ingress.hosts import canonical_address, canonical_host
from vigilnet.traffic.ingress.http_head import error_page
from vigilnet.traffic.stream.names import ipv4_text
from vigilnet.traffic.stream.wire import EndReason

# From the specification.
VERSION: Final = 5
_LOGIN_VERSION: Final = 1
_NO_LOGIN: Final = 0
_LOGIN: Final = 2
_NO_METHOD: Final = 0xFF
_HOST_SIZE: Final = {1: 4, 4: 16}
_NAME_TYPE: Final = 3

SOCKS4_REFUSED: Final = b"\x00\x5b" + bytes(6)
SOCKS5_REFUSED: Final = bytes((VERSION, _NO_METHOD))


class SocksCommand(IntEnum):
    """What the client asks for."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


_SERVED: Final = {int(command): command for command in (SocksCommand.CONNECT, SocksCommand.UDP_ASSOCIATE)}


class SocksReply(IntEnum):
    """How a request ended (RFC 1928 section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


_REPLY_FOR_END: Final = {
    EndReason.REFUSED: SocksReply.CONNECTION_REFUSED,
    EndReason.POLICY: SocksReply.NOT_ALLOWED,
    EndReason.RESOLVE_FAILED: SocksReply.HOST_UNREACHABLE,
    EndReason.NO_ROUTE: SocksReply.NETWORK_UNREACHABLE,
    EndReason.TIMEOUT: SocksReply.TTL_EXPIRED,
}
_OTHERWISE: Final = SocksReply.GENERAL_FAILURE


def reply_for_end(reason: EndReason | None) -> SocksReply:
    """Return the reply that tells the application why its stream ended; None: there is no circuit."""
    return SocksReply.GENERAL_FAILURE if reason is None else _REPLY_FOR_END.get(reason, _OTHERWISE)


def encode_reply(reply: SocksReply, host: str = "0.0.0.0", port: int = 0) -> bytes:  # noqa: S104 - "no address"
    """Return the octets of a reply; `host` is an address of this machine, or the unspecified one."""
    address = IPv6Address(host) if ":" in host else IPv4Address(host)
    kind = 4 if address.version == 6 else 1
    return bytes((VERSION, reply, 0, kind)) + address.packed + port.to_bytes(2)


CONNECTED: Final = encode_reply(SocksReply.SUCCEEDED)


def isolation_key(user: bytes, password: bytes) -> str:
    """Return the key that keeps streams of different logins on different circuits."""
    return sha256(b"%d:" % len(user) + user + password).hexdigest()


@dataclass(frozen=True, slots=True)
class SocksRequest:
    """A well-formed request; `early` is what the client sent right after it."""

    command: SocksCommand
    host: str
    port: int
    isolation: str
    early: bytes


class _Step(Enum):
    GREETING = "greeting"
    LOGIN = "login"
    REQUEST = "request"
    WAITING = "waiting for the caller's reply"
    OVER = "over"


class Socks5Machine:
    """The server's side of one SOCKS connection, up to and including the reply."""

    __slots__ = ("_buffer", "_isolation", "_out", "_step", "login")

    def __init__(self) -> None:
        self.login: tuple[bytes, bytes] | None = None  # user name and password, where the client gave them
        self._buffer = b""
        self._isolation = ""
        self._out: list[bytes] = []
        self._step = _Step.GREETING

    def receive(self, data: bytes) -> SocksRequest | None:
        """Take octets from the client; return its request once it is complete.

        Raises:
            RemoteProtocolError: not SOCKS 5, or a request we do not serve. The clear answer is in
                `data_to_send`; send it, then close the connection.
            LocalProtocolError: the request was already returned.
        """
        if self._step in (_Step.WAITING, _Step.OVER):
            raise LocalProtocolError("socks: octets after the request belong to the stream")
        self._buffer += data
        if self._step is _Step.GREETING and not self._take_greeting():
            return None
        if self._step is _Step.LOGIN and not self._take_login():
            return None
        return self._take_request()

    def data_to_send(self) -> bytes:
        """Return what is to be sent to the client now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def reply(self, reply: SocksReply, host: str = "0.0.0.0", port: int = 0) -> None:  # noqa: S104 - "no address"
        """Answer the request; the machine's work is done then."""
        if self._step is not _Step.WAITING:
            raise LocalProtocolError(f"socks: reply while {self._step.value}")
        self._step = _Step.OVER
        self._out.append(encode_reply(reply, host, port))

    def _refuse(self, answer: bytes, why: str) -> RemoteProtocolError:
        self._step = _Step.OVER
        self._buffer = b""
        self._out.append(answer)
        return RemoteProtocolError(f"socks: {why}")

    def _take_greeting(self) -> bool:
        buffer = self._buffer
        if buffer[:1] != b"\x05":
            self._refuse_other_protocol()
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return False
        methods = buffer[2 : 2 + buffer[1]]
        if _LOGIN in methods:  # before "none": who sends a login wants to be isolated by it
            method, self._step = _LOGIN, _Step.LOGIN
        elif _NO_LOGIN in methods:
            method, self._step = _NO_LOGIN, _Step.REQUEST
        else:
            raise self._refuse(SOCKS5_REFUSED, "no login method that we serve")
        self._out.append(bytes((VERSION, method)))
        self._buffer = buffer[2 + len(methods) :]
        return True

    def _refuse_other_protocol(self) -> None:
        first = self._buffer[:1]
        if not first:
            return
        if first == b"\x04":
            raise self._refuse(SOCKS4_REFUSED, "version 4 spoken, expected 5")
        if first.isalpha():
            page = error_page(400, "This is a SOCKS5 port", "Set it as a SOCKS5 proxy, not as an HTTP proxy.")
            raise self._refuse(page, "HTTP spoken to the SOCKS port")
        raise self._refuse(SOCKS5_REFUSED, f"version {first[0]}, expected 5")

    def _take_login(self) -> bool:
        buffer = self._buffer
        if buffer and buffer[0] != _LOGIN_VERSION:
            raise self._refuse(bytes((_LOGIN_VERSION, 1)), f"login version {buffer[0]}, expected 1")
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return False
        user_end = 2 + buffer[1]
        end = user_end + 1 + buffer[user_end]
        if len(buffer) < end:
            return False
        self.login = buffer[2:user_end], buffer[user_end + 1 : end]
        self._isolation = isolation_key(*self.login)
        self._out.append(bytes((_LOGIN_VERSION, 0)))
        self._buffer = buffer[end:]
        self._step = _Step.REQUEST
        return True

    def _take_request(self) -> SocksRequest | None:
        buffer = self._buffer
        if len(buffer) < 5:
            return None
        if buffer[0] != VERSION or buffer[2] != 0:
            raise self._refuse(encode_reply(SocksReply.GENERAL_FAILURE), "malformed request")
        command = _SERVED.get(buffer[1])
        if command is None:
            answer = encode_reply(SocksReply.COMMAND_NOT_SUPPORTED)
            raise self._refuse(answer, f"command {buffer[1]}, expected 1 or 3")
        try:
            found = decode_host(buffer, 3)
        except UnknownAddressTypeError as error:
            raise self._refuse(encode_reply(SocksReply.ADDRESS_TYPE_NOT_SUPPORTED), str(error)) from error
        except RemoteProtocolError as error:
            raise self._refuse(encode_reply(SocksReply.HOST_UNREACHABLE), str(error)) from error
        if found is None:
            return None
        host, port, end = found
        if port == 0 and command is SocksCommand.CONNECT:
            raise self._refuse(encode_reply(SocksReply.GENERAL_FAILURE), "port 0, expected 1 to 65535")
        self._step = _Step.WAITING
        self._buffer = b""
        return SocksRequest(command, host, port, self._isolation, buffer[end:])


class UnknownAddressTypeError(RemoteProtocolError):
    """The address type octet is none of 1, 3 and 4."""


def decode_host(data: bytes, at: int) -> tuple[str, int, int] | None:
    """Read `type, host, port` at data[at:]; return host, port and where it ends, or None if more is needed.

    Raises:
        RemoteProtocolError: unknown type (`UnknownAddressTypeError`), or what is neither name nor address.
    """
    kind = data[at]
    if kind == _NAME_TYPE:
        if len(data) <= at + 1:
            return None
        start, size = at + 2, data[at + 1]
    elif kind in _HOST_SIZE:
        start, size = at + 1, _HOST_SIZE[kind]
    else:
        raise UnknownAddressTypeError(f"address type {kind}, expected 1, 3 or 4")
    end = start + size + 2
    if len(data) < end:
        return None
    packed = data[start : start + size]
    return _HOST_TEXT[kind](packed), int.from_bytes(data[end - 2 : end]), end


_HOST_TEXT: Final[dict[int, Callable[[bytes], str]]] = {
    1: ipv4_text,
    _NAME_TYPE: lambda octets: canonical_host(octets.decode("latin-1")),
    4: lambda packed: canonical_address(IPv6Address(packed)),
}
