"""What is said on the control socket (docs/spec/control.md): one JSON object a line, both ways.

    request   {"v": 1, "id": 7, "method": "status", "params": {}}
    reply     {"v": 1, "id": 7, "result": ...}
         or   {"v": 1, "id": 7, "error": {"code": ..., "message": ..., "why": ..., "next": ...}}
    event     {"v": 1, "event": "traffic", "data": ...}     after `watch`, between replies

Sans-IO, and known to both ends: imports nothing of the node. What is asked is in `operations`, what is
answered in `models`. Readers ignore fields they do not know and writers never drop or rename one within
version 1.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property, lru_cache
from typing import Any, Final, TypeVar

from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.surface.control.models import PRIVATE

VERSION: Final = 1
MAX_REQUEST: Final = 64 * 1024
MAX_REPLY: Final = 16 * 1024 * 1024
SOCKET_NAME: Final = "control.sock"

_T = TypeVar("_T")


class ErrorCode(StrEnum):
    """Why a request was not served; callers react to these, people read the message."""

    BAD_REQUEST = "bad-request"
    UNSUPPORTED_VERSION = "unsupported-version"
    UNKNOWN_METHOD = "unknown-method"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    BUSY = "busy"
    FAILED = "failed"
    NOT_FOUND = "not-found"
    REFUSED = "refused"
    NO_EXIT = "exit.none"
    EXIT_WARNING = "mode.warning"
    UNKNOWN_OPTION = "option.unknown"
    BAD_OPTION = "option.invalid"
    LOCKED_OPTION = "option.locked"
    OFF = "off"


class ControlError(VigilnetError):
    """A request was refused.

    Attributes:
        code: why, for programs.
        why: one more sentence for people.
        next: what to do now, a command line or a sentence.
    """

    kind = ErrorKind.REFUSED

    def __init__(self, code: str, message: str, why: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.why = why
        self.next = next_step


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
    """Return the line that carries a result: models, or plain values."""
    return encode_text(identifier, as_json(result))


def encode_text(identifier: int, text: bytes) -> bytes:
    """Return the line that carries a result whose JSON is there already."""
    return b'{"v":%d,"id":%d,"result":%b}\n' % (VERSION, identifier, text)


def encode_error(identifier: int, code: str, message: str, why: str = "", next_step: str = "") -> bytes:
    """Return the line that carries an error."""
    return _line({"v": VERSION, "id": identifier, "error": error_object(code, message, why, next_step)})


def encode_event(topic: str, data: object) -> bytes:
    """Return the line that carries an event: models, or plain values."""
    return _line({"v": VERSION, "event": topic, "data": data})


def error_object(code: str, message: str, why: str = "", next_step: str = "") -> dict[str, str]:
    """Return an error as JSON; what there is nothing to say of is left out."""
    fields = {"code": str(code), "message": message, "why": why, "next": next_step}
    return {name: text for name, text in fields.items() if text or name in ("code", "message")}


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
        raise ControlError(
            str(refusal.get("code")),
            str(refusal.get("message")),
            str(refusal.get("why", "")),
            str(refusal.get("next", "")),
        )
    if value.get("id") != identifier or "result" not in value:
        raise RemoteProtocolError("control reply: not to our request")
    return value["result"]


class Plain(dict[str, Any]):
    """An object that is plain down to its leaves; whoever makes one promises that nobody changes it."""

    @cached_property
    def text(self) -> bytes:
        """It as JSON."""
        return _encode(self).encode()


_AS_IT_IS: Final = frozenset((str, int, float, bool, type(None), Plain))


@lru_cache(maxsize=256)
def _field_names(kind: type) -> tuple[str, ...] | None:
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def as_json(value: object) -> bytes:
    """Return models and plain values as JSON, without a plain copy in between: a third of the work."""
    if type(value) is Plain:  # large, asked often and seldom new: encoded once
        return value.text
    return _encode(value).encode()


def _as_encoder_knows_it(value: object) -> object:
    """Return what the encoder does not know one step nearer to JSON."""
    kind: Any = type(value)
    names = _field_names(kind)
    if names is not None:
        return {name: getattr(value, name) for name in names}
    found = _plain_of_others(value)
    if found is value:
        raise TypeError(f"JSON: a {type(value).__name__} cannot be shown")
    return found


_encode: Final = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False, default=_as_encoder_knows_it
).encode


def plain(value: object) -> Any:  # noqa: ANN401 JSON
    """Turn dataclasses into plain values that JSON knows; octets into hex, sets of any kind into lists.

    For who compares or changes them; `as_json` needs none.
    """
    kind: Any = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is tuple or kind is list:
        return [plain(item) for item in value]  # type: ignore[attr-defined]  # of these kinds
    names = _field_names(kind)
    if names is not None:
        found = {}
        for name in names:  # most fields are as JSON has them: no call for those
            item = getattr(value, name)
            found[name] = item if type(item) in _AS_IT_IS else plain(item)
        return found
    return _plain_of_others(value)


def _plain_of_others(value: object) -> Any:  # noqa: ANN401 JSON
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def decode_event(line: bytes) -> tuple[str, Any]:
    """Parse one event line; returns its topic and the plain data, ("", None) for a reply.

    Raises:
        RemoteProtocolError: neither.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("control event: not JSON") from error
    if not isinstance(value, dict) or value.get("v") != VERSION:
        raise RemoteProtocolError("control event: of another version")
    topic = value.get("event", "")
    return (topic, value.get("data")) if isinstance(topic, str) else ("", None)


def read(kind: type[_T], value: object, what: str = "") -> _T:
    """Turn a plain value back into the dataclass `kind`.

    Raises:
        RemoteProtocolError: a field is missing or of another kind.
    """
    return typing.cast(_T, _read(kind, value, what or kind.__name__.lower()))


def without_private(kind: object, value: Any) -> Any:  # noqa: ANN401 JSON
    """Return a plain value as a read-only caller gets it: fields marked private are empty."""
    if typing.get_origin(kind) is types.UnionType:
        return value if value is None else without_private(typing.get_args(kind)[0], value)
    if typing.get_origin(kind) is typing.Annotated:
        return without_private(typing.get_args(kind)[0], value)
    if typing.get_origin(kind) is tuple:
        return [without_private(typing.get_args(kind)[0], item) for item in value]
    if not dataclasses.is_dataclass(kind) or not isinstance(kind, type):
        return value
    hints = _hints(kind, include_extras=True)
    return {
        name: _emptied(item)
        if PRIVATE in typing.get_args(hints[name])
        else without_private(hints[name], item)
        for name, item in value.items()
        if name in hints
    }


def _emptied(value: object) -> object:
    return [] if isinstance(value, list) else ""


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
    elif type(value) is (origin or kind):
        return value
    raise RemoteProtocolError(f"control reply: {what} is {type(value).__name__}, expected {kind}")


@lru_cache(maxsize=256)
def _hints(kind: type, *, include_extras: bool = False) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=include_extras)


def _read_fields(kind: type, value: dict[str, Any], what: str) -> object:
    hints = _hints(kind)
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
    return as_json(value) + b"\n"
