"""Heads of HTTP/1 messages, strictly read (sans-IO; docs/spec/ingress.md section 3; RFC 9112).

Whatever two parsers could read differently is refused: bare CR or LF, folded lines, spaces before
the colon, two framings, repeated or odd lengths. So nothing can be smuggled through us.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

from vigilnet.base.errors import RemoteProtocolError

# Our choice.
MAX_HEAD: Final = 32 * 1024
MAX_FIELDS: Final = 128

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
# What a Connection header must not take away from under the next reader.
_NEVER_DROPPED: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"trailer",
        b"transfer-encoding",
    }
)

REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


class HttpError(RemoteProtocolError):
    """A message we do not pass on.

    Args:
        status: what the client is told.
        message: why, with nothing of the message in it.
        answer: the octets to answer with; None for a page made of status and message.
    """

    def __init__(self, status: int, message: str, answer: bytes | None = None) -> None:
        super().__init__(f"http: {message}")
        self.status = status
        self.answer = answer


def error_page(status: int, title: str, advice: str, fields: Iterable[str] = ()) -> bytes:
    """Return a whole response that tells a person what went wrong; the connection closes after it.

    It names the proxy's faults only: no version, no address and nothing of the request in it.
    """
    body = (
        f"<!DOCTYPE html><html><head><meta charset=utf-8><title>{escape(title)}</title></head>"
        f"<body><h1>{escape(title)}</h1><p>{escape(advice)}</p></body></html>\n"
    )
    head = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body.encode())}",
        "Cache-Control: no-store",
        "Connection: close",
        *fields,
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's first line and header fields, in order and spelling as they came."""

    method: bytes
    target: bytes
    minor_version: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's first line and header fields, in order and spelling as they came."""

    minor_version: int
    status: int
    reason: bytes
    fields: Fields


def split_head(buffer: bytes | bytearray, limit: int = MAX_HEAD) -> int | None:
    """Return the length of the head that the buffer starts with, or None if it is not complete.

    Raises:
        HttpError: over `limit` octets.
    """
    end = buffer.find(b"\r\n\r\n", 0, limit)
    if end >= 0:
        return end + 4
    if len(buffer) >= limit:
        raise HttpError(431, f"head over {limit} octets")
    return None


def parse_request(head: bytes) -> RequestHead:
    """Read a request head, final empty line included.

    Raises:
        HttpError: malformed (400) or not HTTP/1 (505).
    """
    first, fields = _parse_lines(head)
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        if re.fullmatch(_TOKEN + rb" [\x21-\x7e]+ HTTP/[0-9]\.[0-9]", first):
            raise HttpError(505, "version, expected HTTP/1.0 or HTTP/1.1")
        raise HttpError(400, "malformed request line")
    return RequestHead(found[1], found[2], int(found[3]), fields)


def parse_response(head: bytes) -> ResponseHead:
    """Read a response head, final empty line included.

    Raises:
        HttpError: malformed (502).
    """
    try:
        first, fields = _parse_lines(head)
    except HttpError as error:
        raise HttpError(502, f"response: {error}") from error
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise HttpError(502, "malformed status line")
    return ResponseHead(int(found[1]), int(found[2]), found[3] or b"", fields)


def _parse_lines(head: bytes) -> tuple[bytes, Fields]:
    first, *lines = head[:-4].split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise HttpError(431, f"{len(lines)} header fields, at most {MAX_FIELDS}")
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:  # also folded lines, and bare CR or LF, which no pattern above admits
            raise HttpError(400, "malformed header field")
        fields.append((found[1], found[2].strip(b" \t")))
    return first, fields


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of all fields of that (lower-case) name."""
    return [value for key, value in fields if key.lower() == name]


def tokens(fields: Fields, name: bytes) -> list[bytes]:
    """Return the comma-separated members of all fields of that name, in lower case."""
    members = (member.strip(b" \t").lower() for value in values(fields, name) for member in value.split(b","))
    return [member for member in members if member]


def body_length(fields: Fields, minor_version: int) -> int | None:
    """Return the length of the body that the fields announce, -1 if chunked, None if neither is said.

    Raises:
        HttpError: two framings, or one that cannot be read in one way only (400, 501).
    """
    lengths = values(fields, b"content-length")
    codings = values(fields, b"transfer-encoding")
    if codings:
        if lengths or minor_version == 0:
            raise HttpError(400, "transfer-encoding with a content-length or in HTTP/1.0")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise HttpError(501, "transfer-encoding, expected chunked once")
        return -1
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise HttpError(400, "content-length, expected one decimal number")
    return int(lengths[0])


def end_to_end(fields: Fields) -> Fields:
    """Return the fields without those meant for the next hop only.

    Raises:
        HttpError: Connection names a field that the next hop needs (400).
    """
    named = set(tokens(fields, b"connection"))
    if named & _NEVER_DROPPED:
        raise HttpError(400, "connection names a field that must stay")
    dropped = _HOP_BY_HOP | named
    return [field for field in fields if field[0].lower() not in dropped]


def encode_head(first: bytes, fields: Fields) -> bytes:
    """Return the head with this first line, final empty line included."""
    return b"".join((first, b"\r\n", *(b"%b: %b\r\n" % field for field in fields), b"\r\n"))
