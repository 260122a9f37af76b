"""What is said on the control socket (docs/spec/control.md): one JSON object a line, both ways.

    request   {"v": 1, "id": 7, "method": "status", "params": {}}
    reply     {"v": 1, "id": 7, "result": ...}
         or   {"v": 1, "id": 7, "error": {"code": ..., "message": ...}}

Sans-IO, and known to both ends: imports nothing of the node. Readers ignore fields they do not know
and writers never drop or rename one within version 1.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final, TypeVar

from vigilnet.base.errors import RemoteProtocolError, VigilnetError

VERSION: Final = 1
MAX_REQUEST: Final = 64 * 1024
MAX_REPLY: Final = 16 * 1024 * 1024
SOCKET_NAME: Final = "control.sock"

_T = TypeVar("_T")


class Method(StrEnum):
    """What can be asked."""

    STATUS = "status"
    CIRCUITS = "circuits"
    STREAMS = "streams"
    NEW_IDENTITY = "new-identity"
    PEERS = "peers"
    INVITE = "invite"
    ADD_INVITE = "add-invite"
    WELCOME_LIST = "welcome-list"
    DEVICE = "device"
    STOP = "stop"
    VERSION = "version"


class ErrorCode(StrEnum):
    """Why a request was not served; callers react to these, people read the message."""

    BAD_REQUEST = "bad-request"
    UNSUPPORTED_VERSION = "unsupported-version"
    UNKNOWN_METHOD = "unknown-method"
    FORBIDDEN = "forbidden"
    BUSY = "busy"
    FAILED = "failed"


class ControlError(VigilnetError):
    """A request was refused; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Status:
    """Reply to `status`."""

    version: str
    pid: int
    state: str
    uptime_s: float
    network: str = ""
    roles: tuple[str, ...] = ()
    peer_id: str = ""
    socks: str = ""
    http_proxy: str = ""
    listen: tuple[str, ...] = ()
    peers: int = 0
    links: int = 0
    circuits: int = 0
    relayed_circuits: int = 0
    streams: int = 0
    phase: str = ""
    first_circuit_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of a circuit."""

    peer_id: str
    suite: str = ""


@dataclass(frozen=True, slots=True)
class Circuit:
    """One element of the reply to `circuits`; hops in path order, guard first."""

    id: int
    state: str
    hops: tuple[Hop, ...] = ()
    age_s: float = 0.0
    streams: int = 0
    build_ms: float | None = None
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """One element of the reply to `streams`."""

    id: int
    circuit: int
    target: str
    state: str
    age_s: float = 0.0
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """Reply to `new-identity`: how many circuits take no new streams any more."""

    retired: int


@dataclass(frozen=True, slots=True)
class Peer:
    """One element of the reply to `peers`: a relay that the node knows."""

    peer_id: str
    found_by: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    is_reached: bool = False
    is_linked: bool = False
    until: int = 0


@dataclass(frozen=True, slots=True)
class Invite:
    """Reply to `invite` and `add-invite`: one relay's invite, and until when (Unix seconds) it is good."""

    uri: str
    peer_id: str
    until: int
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class WelcomeList:
    """Reply to `welcome-list`: the file's text."""

    text: str
    relays: int
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Version:
    """Reply to `version`: of the program and of this protocol."""

    version: str
    control: int = VERSION


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request."""

    id: int
    method: str
    params: dict[str, Any]

    def encode(self) -> bytes:
        """Return the line."""
        return _line({"v": VERSION, "id": self.id, "method": self.method, "params": self.params})


def decode_request(line: bytes) -> Request:
    """Parse one line.

    Raises:
        ControlError: not a request, or of another version.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(ErrorCode.BAD_REQUEST, "request: not JSON") from error
    if not isinstance(value, dict):
        raise ControlError(ErrorCode.BAD_REQUEST, "request: not a JSON object")
    version, identifier = value.get("v", VERSION), value.get("id", 0)
    method, params = value.get("method"), value.get("params", {})
    if version != VERSION or isinstance(version, bool):
        raise ControlError(
            ErrorCode.UNSUPPORTED_VERSION, f"request: another version asked, this node speaks {VERSION}"
        )
    if type(identifier) is not int or not isinstance(method, str) or not isinstance(params, dict):
        raise ControlError(
            ErrorCode.BAD_REQUEST, "request: id must be a number, method a text, params an object"
        )
    return Request(identifier, method, params)


def encode_result(identifier: int, result: object) -> bytes:
    """Return the line that carries a result: a dataclass, a sequence of them, or a plain value."""
    return _line({"v": VERSION, "id": identifier, "result": plain(result)})


def encode_error(identifier: int, code: str, message: str) -> bytes:
    """Return the line that carries an error."""
    return _line({"v": VERSION, "id": identifier, "error": {"code": code, "message": message}})


def decode_reply(line: bytes, identifier: int) -> Any:  # noqa: ANN401 JSON
    """Parse one reply line and return the plain result.

    Raises:
        ControlError: the node refused.
        RemoteProtocolError: not a reply to the request with this id.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("control reply: not JSON") from error
    if not isinstance(value, dict) or value.get("v") != VERSION:
        raise RemoteProtocolError("control reply: of another version")
    refusal = value.get("error")
    if isinstance(refusal, dict):
        raise ControlError(str(refusal.get("code")), str(refusal.get("message")))
    if value.get("id") != identifier or "result" not in value:
        raise RemoteProtocolError("control reply: not to our request")
    return value["result"]


def plain(value: object) -> Any:  # noqa: ANN401 JSON
    """Turn dataclasses into plain values that JSON knows; octets into hex, sets of any kind into lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def read(kind: type[_T], value: object) -> _T:
    """Turn a plain value back into the dataclass `kind`.

    Raises:
        RemoteProtocolError: a field is missing or of another kind.
    """
    return typing.cast(_T, _read(kind, value, kind.__name__.lower()))


def _read(kind: object, value: object, what: str) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, what)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_read(arguments[0], item, what) for item in value)
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict):
            return _read_fields(kind, value, what)
    elif kind is float:
        if type(value) in (int, float):
            return value
    elif type(value) is kind:
        return value
    raise RemoteProtocolError(f"control reply: {what} is {type(value).__name__}, expected {kind}")


def _read_fields(kind: type, value: dict[str, Any], what: str) -> object:
    hints = typing.get_type_hints(kind)
    fields = {
        field.name: _read(hints[field.name], value[field.name], f"{what}.{field.name}")
        for field in dataclasses.fields(kind)
        if field.name in value
    }
    try:
        return kind(**fields)
    except TypeError as error:
        raise RemoteProtocolError(f"control reply: {what} lacks a field") from error


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
