"""Requests and responses as the routes see them (sans-IO)."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
EVENT_STREAM: Final = "text/event-stream"

MAX_QUERY_FIELDS: Final = 32
MAX_DETAILS: Final = 200

_STATUS_OF: Final[Mapping[ErrorKind, int]] = {
    ErrorKind.REMOTE_PROTOCOL: 400,
    ErrorKind.CONFIGURATION: 400,
    ErrorKind.REFUSED: 409,
    ErrorKind.ENVIRONMENT: 503,
    ErrorKind.UNREACHABLE: 503,
    ErrorKind.CLOSED: 503,
    ErrorKind.LOCAL_PROTOCOL: 500,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: upper case.
        path: as it was sent, without the query; not percent-decoded.
        query: fields of the query, decoded; of one sent twice the last counts.
        headers: by lower-case name; one sent twice has its values joined by ", ".
        peer: IP address of the other end; "" over a unix socket.
        port: our port it came in by; 0 over a unix socket.
        uid: user at the other end of a unix socket, where the system tells.
        body: all of it; b"" while guards look.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    port: int = 0
    uid: int | None = None
    body: bytes = b""

    def json(self) -> object:
        """Return the body as JSON.

        Raises:
            RemoteProtocolError: it is not JSON in UTF-8, or is nested beyond measure.
        """
        return parse_json(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer.

    A body that is an iterator is streamed in chunks until it ends. One in parts is sent part by part, so that
    many who read it slowly share its octets.
    """

    status: int = 200
    body: bytes | tuple[bytes, ...] | AsyncIterator[bytes] = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `value` as JSON."""
    return Response(status, json.dumps(value, separators=(",", ":")).encode(), JSON, headers or {})


def parse_json(body: bytes, max_values: int | None = None) -> object:
    """Return a body as JSON.

    Args:
        body: all of it.
        max_values: how many values it may have, since each takes many octets of memory; commas and
            brackets in texts count as well.

    Raises:
        RemoteProtocolError: it is not JSON in UTF-8, has too many values or is nested beyond measure.
    """
    if max_values is not None and sum(map(body.count, (b",", b"[", b"{"))) > max_values:
        raise RemoteProtocolError(f"body: more than {max_values} values")
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        raise RemoteProtocolError(f"body: not JSON: {reason}"[:MAX_DETAILS]) from error


def text_response(text: str, content_type: str = TEXT) -> Response:
    """Return `text`."""
    return Response(200, text.encode(), content_type)


def error_response(
    status: int, error: str, details: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as `{"error": ..., "details": ...}`; details are left out when empty."""
    value = {"error": error, "details": details[:MAX_DETAILS]} if details else {"error": error}
    return json_response(value, status, headers)


def response_to(error: VigilnetError) -> Response:
    """Return what a route's error is to the other end; our own bugs show nothing of themselves."""
    if error.kind is ErrorKind.LOCAL_PROTOCOL:
        return error_response(500, "internal error")
    return error_response(_STATUS_OF[error.kind], str(error)[:MAX_DETAILS])


def parse_target(target: str) -> tuple[str, dict[str, str]]:
    """Split a request's target into path and query.

    Raises:
        RemoteProtocolError: not a path, as a proxy would be asked for; or too many fields.
    """
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        raise RemoteProtocolError("request: target is not a path")
    try:
        return path, dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError as error:
        raise RemoteProtocolError(
            f"request: query has more than {MAX_QUERY_FIELDS} fields or is not UTF-8"
        ) from error
