"""Fetching one page from the origin, as a visitor who is only that (docs/spec/htx.md section 9; sans-IO).

HTTP/2 (RFC 9113) as far as one GET needs it, or HTTP/1.1 where the origin chose that. Used where a node
cannot, or must not, make a link: to read the origin's clock, to leave an interceptor as a browser would.
"""

import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from hpack import Decoder, Encoder, HPACKError

from vigilnet.base.errors import RemoteProtocolError

# Our choice.
MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 1 << 20  # then the page is left unread
MAX_FRAME: Final = 16_384

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9
)  # fmt: skip
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 0x20
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_STREAM: Final = 1
_HEAD_SIZE: Final = 9

# Settings, window update and order of the first four headers, near to each family's; not checked.
_FAMILIES: Final[dict[str, tuple[tuple[tuple[int, int], ...], int, str]]] = {
    "chromium": (((1, 65_536), (2, 0), (4, 6_291_456), (6, 262_144)), 15_663_105, "masp"),
    "firefox": (((1, 65_536), (2, 0), (4, 131_072), (5, 16_384)), 12_517_377, "mpas"),
    "safari": (((2, 0), (3, 100), (4, 2_097_152), (9, 1)), 10_420_225, "msap"),
    "curl": (((3, 100), (4, 10_485_760), (2, 0)), 1_048_510_465, "mpsa"),
}
_ACCEPT: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def user_agent(name: str, browser: str) -> str:
    """Return what a template's browser calls itself; `browser` is the template's, with a version."""
    found = re.search(r" (\d+)(?:\.[\d.]+)?", browser)
    version = found.group(1) if found else "100"
    return {
        "firefox": f"Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0",
        "safari": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        f"Version/{version}.0 Safari/605.1.15",
        "curl": f"curl/{browser.split(' ')[1] if ' ' in browser else version}",
        "edge": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{version}.0.0.0 Safari/537.36 Edg/{version}.0.0.0",
    }.get(
        name,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{version}.0.0.0 Safari/537.36",
    )


class PageFetch:
    """One GET / and its answer.

    Args:
        host_name: whose page.
        alpn: what the origin chose: `h2`, or anything else for HTTP/1.1.
        name: the template's.
        browser: the template's program with its version.
    """

    def __init__(self, host_name: str, alpn: bytes, name: str, browser: str) -> None:
        self._is_h2 = alpn == b"h2"
        self._name = name if name in _FAMILIES else "chromium"
        self._outbox = bytearray()
        self._unread = bytearray()
        self._block: bytearray | None = None  # of headers under way
        self._ends_stream = False
        self._body_left: int | None = None
        self.body_octets = 0
        self.status = 0
        self.date: float | None = None  # Unix seconds
        self.is_done = False
        agent = user_agent(name, browser)
        if self._is_h2:
            self._decoder = Decoder(MAX_HEAD)
            self._outbox += self._h2_request(host_name, agent)
        else:
            self._outbox += (
                f"GET / HTTP/1.1\r\nHost: {host_name}\r\nUser-Agent: {agent}\r\nAccept: {_ACCEPT}\r\n\r\n"
            ).encode("ascii")

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Take octets of the answer; `is_done` tells when there is nothing left to wait for.

        Raises:
            RemoteProtocolError: this is no HTTP.
        """
        if self.is_done:
            return
        self._unread += data
        if self._is_h2:
            self._take_frames()
        else:
            self._take_text()

    # --- HTTP/2 ---------------------------------------------------------------------------------

    def _h2_request(self, host_name: str, agent: str) -> bytes:
        settings, window, order = _FAMILIES[self._name]
        octets = b"".join(kind.to_bytes(2, "big") + value.to_bytes(4, "big") for kind, value in settings)
        pseudo = {"m": (":method", "GET"), "a": (":authority", host_name), "s": (":scheme", "https"),
                  "p": (":path", "/")}  # fmt: skip
        fields = [pseudo[letter] for letter in order]
        fields += [("user-agent", agent), ("accept", _ACCEPT), ("accept-encoding", "gzip, deflate, br")]
        fields += [("accept-language", "en-US,en;q=0.9")] if self._name != "curl" else []
        block = Encoder().encode(fields)
        flags = _END_STREAM | _END_HEADERS
        if self._name == "chromium":
            flags |= _PRIORITY
            block = bytes.fromhex("80000000ff") + block
        return b"".join((
            _PREFACE,
            _frame(_SETTINGS, 0, 0, octets),
            _frame(_WINDOW_UPDATE, 0, 0, window.to_bytes(4, "big")),
            _frame(_HEADERS, flags, _STREAM, block),
        ))  # fmt: skip

    def _take_frames(self) -> None:
        while len(self._unread) >= _HEAD_SIZE and not self.is_done:
            length = int.from_bytes(self._unread[:3], "big")
            if length > MAX_FRAME:
                raise RemoteProtocolError(f"page: frame of {length} octets, at most {MAX_FRAME}")
            if len(self._unread) < _HEAD_SIZE + length:
                return
            kind, flags = self._unread[3], self._unread[4]
            stream = int.from_bytes(self._unread[5:9], "big") & 0x7FFFFFFF
            body = bytes(self._unread[_HEAD_SIZE : _HEAD_SIZE + length])
            del self._unread[: _HEAD_SIZE + length]
            self._take_frame(kind, flags, stream, body)

    def _take_frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if (self._block is not None) != (kind == _CONTINUATION):
            raise RemoteProtocolError(f"page: frame {kind} in the middle of headers, or none of them begun")
        if kind in (_DATA, _HEADERS, _CONTINUATION, _PUSH_PROMISE):
            if stream != _STREAM or kind == _PUSH_PROMISE:
                raise RemoteProtocolError(f"page: frame {kind} of a stream that was not opened")
            self._take_answer(kind, flags, body)
        elif kind == _GOAWAY or (kind == _RST_STREAM and stream == _STREAM):
            self.is_done = True
        elif kind == _SETTINGS and not flags & _ACK:
            self._outbox += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK and len(body) == 8:
            self._outbox += _frame(_PING, _ACK, 0, body)

    def _take_answer(self, kind: int, flags: int, body: bytes) -> None:
        if kind == _DATA:
            self.body_octets += len(body)
            self.is_done = bool(flags & _END_STREAM) or self.body_octets > MAX_BODY
            return
        if kind == _HEADERS:
            self._block = bytearray(_unpadded(flags, body))
            self._ends_stream = bool(flags & _END_STREAM)
        elif self._block is not None:
            self._block += body
        block = self._block or bytearray()
        if len(block) > MAX_HEAD:
            raise RemoteProtocolError(f"page: headers of over {MAX_HEAD} octets")
        if flags & _END_HEADERS:
            self._block = None
            try:
                fields = [(str(name), str(value)) for name, value in self._decoder.decode(bytes(block))]
            except (HPACKError, UnicodeDecodeError) as error:
                raise RemoteProtocolError("page: headers that cannot be read") from error
            self._take_fields(fields)
            self.is_done = self._ends_stream

    def _take_fields(self, fields: Iterable[tuple[str, str]]) -> None:
        for name, value in fields:
            if name == ":status" and value.isdecimal() and len(value) == 3:
                self.status = int(value)
            elif name == "date":
                self.date = parse_date(value)
            elif name == "content-length" and value.isdecimal() and len(value) < 16:
                self._body_left = int(value)

    # --- HTTP/1.1 -------------------------------------------------------------------------------

    def _take_text(self) -> None:
        if self.status == 0:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0:
                if len(self._unread) > MAX_HEAD:
                    raise RemoteProtocolError(f"page: headers of over {MAX_HEAD} octets")
                return
            self._take_head(bytes(self._unread[:end]))
            del self._unread[: end + 4]
        self.body_octets += len(self._unread)
        self._unread.clear()
        # a body in chunks has no length: its end is not looked for, the visitor goes when he has read enough
        self.is_done = self.body_octets > MAX_BODY or (
            self._body_left is not None and self.body_octets >= self._body_left
        )

    def _take_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.[01] (\d{3})(?: .*)?", first)
        if found is None:
            raise RemoteProtocolError("page: an answer that is no HTTP")
        self.status = int(found.group(1))
        fields = (line.partition(":") for line in lines)
        self._take_fields((name.strip().lower(), value.strip()) for name, _, value in fields)


def _unpadded(flags: int, body: bytes) -> bytes:
    """Return a HEADERS frame's block."""
    start, end = 0, len(body)
    if flags & _PADDED:
        start, end = 1, end - (body[0] if body else 0)
    if flags & _PRIORITY:
        start += 5
    if start > end:
        raise RemoteProtocolError("page: more padding than frame")
    return body[start:end]


def parse_date(text: str) -> float | None:
    """Return an HTTP date as Unix seconds; None if it is none.

    >>> parse_date("Sun, 06 Nov 1994 08:49:37 GMT")
    784111777.0
    """
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
