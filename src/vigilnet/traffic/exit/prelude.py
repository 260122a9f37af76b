"""The CONNECT prelude: a stream whose target is asked for inside it (docs/spec/exit.md section 8; sans-IO).

    CONNECT host:port HTTP/1.1 CRLF
    *(name ":" value CRLF) CRLF        8 KiB at most; then the stream is the target's

Read strictly: whatever two parsers could read differently is refused.
"""

import re
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.wire import EndReason

# From the checklist.
MAX_PRELUDE: Final = 8 * 1024
# Our choice.
MAX_FIELDS: Final = 64
HOST: Final = "connect"  # with port 0: the target of such a stream's BEGIN; port 0 is never dialled
OK: Final = b"HTTP/1.1 200 Connection Established\r\n\r\n"

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIRST: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/(1\.1|[0-9]\.[0-9])")
_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,253}):([1-9][0-9]{0,4})")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*)|)")
_NEVER: Final = (b"content-length", b"transfer-encoding", b"expect", b"upgrade")  # CONNECT has no body

_ANSWERS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
_BY_REASON: Final = {
    EndReason.POLICY: 403,
    EndReason.TIMEOUT: 504,
    EndReason.LIMIT: 503,
    EndReason.CLOSING: 503,
}


class PreludeError(RemoteProtocolError):
    """A prelude that names no target; `status` is the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"connect prelude: {text}")
        self.status = status


@dataclass(frozen=True)
class Prelude:
    """What it asks for, and the octets behind it."""

    host: str
    port: int
    rest: bytes


def answer(status: int) -> bytes:
    """Return the whole answer to a prelude that leads nowhere."""
    extra = "Allow: CONNECT\r\n" if status == 405 else ""
    extra += "Content-Length: 0\r\nConnection: close\r\n\r\n"
    return f"HTTP/1.1 {status} {_ANSWERS[status]}\r\n{extra}".encode()


def answer_for(reason: EndReason) -> bytes:
    """Return the whole answer to one whose target was not reached."""
    return answer(_BY_REASON.get(reason, 502))


class PreludeReader:
    """Gathers one prelude."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> Prelude | None:
        """Take octets; return the prelude once it is whole.

        Raises:
            PreludeError: too long, or not of its form.
        """
        self._data += data
        end = self._data.find(b"\r\n\r\n", 0, MAX_PRELUDE)
        if end < 0:
            if len(self._data) >= MAX_PRELUDE:
                raise PreludeError(431, f"over {MAX_PRELUDE} octets")
            return None
        return _parse(bytes(self._data[:end]), bytes(self._data[end + 4 :]))


def _parse(head: bytes, rest: bytes) -> Prelude:
    first, *lines = head.split(b"\r\n")
    found = _FIRST.fullmatch(first)
    if found is None:
        raise PreludeError(400, "malformed first line")
    method, authority, version = found.groups()
    if version != b"1.1":
        raise PreludeError(505, "version, expected HTTP/1.1")
    if method != b"CONNECT":
        raise PreludeError(405, "method, expected CONNECT")
    place = _AUTHORITY.fullmatch(authority)
    if place is None or int(place[2]) > 65_535:
        raise PreludeError(400, "target, expected host:port")
    _check_fields(lines, authority)
    return Prelude(place[1].decode("ascii").strip("[]").lower(), int(place[2]), rest)


def _check_fields(lines: list[bytes], authority: bytes) -> None:
    if len(lines) > MAX_FIELDS:
        raise PreludeError(431, f"{len(lines)} fields, at most {MAX_FIELDS}")
    hosts = 0
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise PreludeError(400, "malformed field")
        name, value = found[1].lower(), found[2].rstrip(b" \t")
        if name in _NEVER:
            raise PreludeError(400, "a body, or a wish beyond CONNECT")
        if name == b"host":
            hosts += 1
            if hosts > 1 or value.lower() != authority.lower():
                raise PreludeError(400, "host, expected the target once")
