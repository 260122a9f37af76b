"""An HTTP/1.1 proxy: CONNECT tunnels and absolute-form requests (sans-IO; docs/spec/ingress.md section 3).

One machine serves one client connection, one request after the other. Between client and origin it
passes heads without their hop-by-hop fields and bodies unaltered; it adds nothing that names us (no
Via, no Forwarded). The caller moves octets:

    client ──client_received──▶ machine ──to_origin──▶ stream to the exit
    client ◀────to_client────── machine ◀──origin_received── stream to the exit

and after each call looks at `take_open` (a stream is wanted), `wants_client_data` and `is_over`.
"""

import binascii
import contextlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.ingress.hosts import canonical_host
from vigilnet.traffic.ingress.http_body import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from vigilnet.traffic.ingress.http_head import (
    Fields,
    HttpError,
    RequestHead,
    ResponseHead,
    body_length,
    encode_head,
    end_to_end,
    error_page,
    parse_request,
    parse_response,
    split_head,
    tokens,
    values,
)
from vigilnet.traffic.ingress.socks5 import SOCKS4_REFUSED, SOCKS5_REFUSED, isolation_key
from vigilnet.traffic.stream.wire import EndReason

TUNNEL_OPEN: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

_HOST: Final = rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=-]+)"
_AUTHORITY: Final = re.compile(_HOST + rb":([0-9]{1,5})")
_ABSOLUTE: Final = re.compile(rb"http://(" + _HOST + rb"(?::([0-9]{0,5}))?)([/?][^#]*)?", re.IGNORECASE)
_RESENDABLE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})

_PAGES: Final = {
    EndReason.REFUSED: (502, "Connection refused", "The site's server refused the connection."),
    EndReason.POLICY: (403, "Not allowed", "The exit's policy does not allow this address or port."),
    EndReason.RESOLVE_FAILED: (502, "Name not found", "The exit could not resolve the site's name."),
    EndReason.NO_ROUTE: (502, "No route", "The exit has no route to the site's network."),
    EndReason.TIMEOUT: (504, "Time-out", "The site's server did not answer the exit in time."),
    EndReason.RESET: (502, "Connection lost", "The site's server broke the connection."),
    EndReason.LIMIT: (503, "Exit is busy", "The exit has too many connections; try again in a moment."),
    EndReason.CLOSING: (503, "Circuit lost", "The circuit to the exit ended; try again."),
}
_UNAVAILABLE: Final = (503, "No circuit", "No circuit to an exit could be built; see the node's status.")


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """The machine wants a stream to this host; `early` is what a tunnel's client sent already."""

    host: str
    port: int
    isolation: str
    is_tunnel: bool
    early: bytes


class _State(Enum):
    HEAD = "waiting for a request"
    OPENING = "waiting for a stream"
    EXCHANGE = "request and response under way"
    TUNNEL = "tunnel"
    OVER = "over"


class HttpProxyMachine:
    """One client connection of the HTTP proxy."""

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._buffer = bytearray()  # from the client, not passed on yet
        self._to_client: list[bytes | memoryview] = []
        self._to_origin: list[bytes] = []
        self._open: OpenRequest | None = None
        self._origin: tuple[str, int, str] | None = None  # host, port, isolation of the stream that is open
        self._request_head = b""
        self._request_body: BodyReader = LengthBody(0)
        self._method = b""
        self._is_reused = False
        self._client_stays = True
        self._response_head = bytearray()
        self._response_body: BodyReader | None = None
        self._origin_stays = False
        self._was_cut = False

    # ---- what the caller looks at

    @property
    def is_over(self) -> bool:
        """Whether the connection is to be closed once `to_client` was sent."""
        return self._state is _State.OVER

    @property
    def was_cut(self) -> bool:
        """Whether the last response is incomplete: close with a reset, so that the client sees it."""
        return self._was_cut

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._state is _State.HEAD

    @property
    def wants_origin(self) -> bool:
        """Whether the open stream is still of use; otherwise close it."""
        return self._origin is not None

    @property
    def wants_client_data(self) -> bool:
        """Whether octets from the client could be used now."""
        if self._state is _State.EXCHANGE:
            return not self._request_body.is_complete
        return self._state is _State.HEAD

    def take_open(self) -> OpenRequest | None:
        """Return the stream that is wanted, once."""
        wanted, self._open = self._open, None
        return wanted

    def to_client(self) -> list[bytes | memoryview]:
        """Return what is to be sent to the client now."""
        out, self._to_client = self._to_client, []
        return out

    def to_origin(self) -> bytes:
        """Return what is to be written to the stream now."""
        out = b"".join(self._to_origin)
        self._to_origin.clear()
        return out

    # ---- from the client

    def client_received(self, data: bytes) -> None:
        """Take octets from the client. What is wrong with them the client is told in `to_client`."""
        self._buffer += data
        self._advance()

    def client_ended(self) -> None:
        """The client sends no more; a response under way still goes out."""
        if self._state is _State.EXCHANGE and self._request_body.is_complete:
            self._client_stays = False
        else:
            self._end()

    def time_out(self) -> None:
        """The client took too long over its request head."""
        if self._buffer:
            page = error_page(408, "Time-out", "The request was not complete in time.")
            self._to_client.append(page)
        self._end()

    # ---- from the stream

    def opened(self) -> None:
        """The stream asked for is open."""
        if self._state is not _State.OPENING:
            raise LocalProtocolError(f"http proxy: opened while {self._state.value}")
        if self._origin is None:
            self._state = _State.TUNNEL
            self._to_client.append(TUNNEL_OPEN)
            return
        self._start_exchange()

    def open_failed(self, reason: EndReason | None) -> None:
        """The stream asked for could not be opened; None if there is no circuit at all."""
        self._to_client.append(failure_page(reason))
        self._end()

    def origin_received(self, data: memoryview) -> None:
        """Take octets from the stream; they may be kept until `to_client` is called."""
        if self._state is not _State.EXCHANGE:
            self._origin = None  # speaks out of turn: not to be used again
            return
        try:
            is_complete, surplus = self._take_response(data)
        except HttpError as error:
            self._fail(HttpError(502, "malformed response"), error)
            return
        if is_complete:
            self._end_exchange(has_surplus=surplus)

    def origin_ended(self, *, is_clean: bool) -> None:
        """The stream is over; `is_clean` if the origin ended it in good order."""
        origin, self._origin = self._origin, None
        if self._state is not _State.EXCHANGE:
            return
        if self._response_body is not None:
            self._was_cut = not (is_clean and isinstance(self._response_body, UntilCloseBody))
            self._end()
        elif origin and self._is_reused and self._method in _RESENDABLE and not self._response_head:
            self._ask_for_origin(origin)  # it closed an idle connection under our request (RFC 9112 9.3.1)
        else:
            self._fail(HttpError(502, "the site ended the connection without a response"))

    # ---- requests

    def _advance(self) -> None:
        try:
            if self._state is _State.HEAD:
                self._take_request()
            elif self._state is _State.EXCHANGE:
                self._pass_request_body()
        except HttpError as error:
            self._fail(error)

    def _take_request(self) -> None:
        _refuse_other_protocol(self._buffer)
        while self._buffer[:2] == b"\r\n":  # RFC 9112 section 2.2: left over from older clients
            del self._buffer[:2]
        size = split_head(self._buffer)
        if size is None:
            return
        head = parse_request(bytes(self._buffer[:size]))
        del self._buffer[:size]
        self._is_reused = False
        if head.method == b"CONNECT":
            self._take_connect(head)
        else:
            self._take_absolute(head)

    def _take_connect(self, head: RequestHead) -> None:
        found = _AUTHORITY.fullmatch(head.target)
        if found is None or body_length(head.fields, head.minor_version):
            raise HttpError(400, "malformed CONNECT, expected HOST:PORT and no body")
        host, port = _host_text(found[1]), _port(found[2])
        self._origin = None
        self._open = OpenRequest(host, port, _isolation(head.fields), True, bytes(self._buffer))
        self._buffer.clear()
        self._state = _State.OPENING

    def _take_absolute(self, head: RequestHead) -> None:
        if head.method == b"TRACE":
            raise HttpError(405, "TRACE would show the request to who asks")
        found = _ABSOLUTE.fullmatch(head.target)
        if found is None:
            raise HttpError(400, "malformed target, expected http://HOST/PATH, or CONNECT for https")
        if len(values(head.fields, b"host")) > 1:
            raise HttpError(400, "more than one host field")
        length = body_length(head.fields, head.minor_version)
        self._request_body = ChunkedBody() if length == -1 else LengthBody(length or 0)
        self._method = head.method
        asked = tokens(head.fields, b"connection") + tokens(head.fields, b"proxy-connection")
        self._client_stays = head.minor_version == 1 and b"close" not in asked
        self._request_head = _origin_head(head, found[1], found[4] or b"", stays=self._client_stays)
        origin = _host_text(found[2]), _port(found[3] or b"80"), _isolation(head.fields)
        if origin == self._origin:
            self._is_reused = True
            self._start_exchange()
        else:
            self._ask_for_origin(origin)

    def _ask_for_origin(self, origin: tuple[str, int, str]) -> None:
        self._origin = origin
        self._is_reused = False
        self._open = OpenRequest(*origin, False, b"")
        self._state = _State.OPENING

    def _start_exchange(self) -> None:
        self._state = _State.EXCHANGE
        self._response_head.clear()
        self._to_origin.append(self._request_head)
        self._advance()

    def _pass_request_body(self) -> None:
        if not self._buffer or self._request_body.is_complete:
            return
        octets = bytes(self._buffer)  # a view of the buffer itself would pin its size if the body is at fault
        taken = self._request_body.take(memoryview(octets))
        self._to_origin.append(octets[:taken])
        del self._buffer[:taken]

    # ---- responses

    def _take_response(self, data: memoryview) -> tuple[bool, bool]:
        """Pass on a response; return whether it is complete, and whether more followed it."""
        if self._response_body is None:
            self._response_head += data
            data = self._take_response_heads()
        body = self._response_body
        if body is None:
            return False, False
        taken = body.take(data)
        if taken:
            self._to_client.append(data[:taken])
        return body.is_complete, taken < len(data)

    def _take_response_heads(self) -> memoryview:
        """Pass interim heads (1xx) and the final one; return the octets behind it."""
        while self._response_body is None:
            size = split_head(self._response_head)
            if size is None:
                return memoryview(b"")
            head = parse_response(bytes(self._response_head[:size]))
            del self._response_head[:size]
            self._pass_response_head(head)
        rest = bytes(self._response_head)
        self._response_head.clear()
        return memoryview(rest)

    def _pass_response_head(self, head: ResponseHead) -> None:
        if head.status in (101, 407):  # we asked for neither
            raise HttpError(502, f"origin answered {head.status}")
        fields = end_to_end(head.fields)
        if head.status >= 200:
            self._response_body = _response_body(self._method, head)
            is_endless = isinstance(self._response_body, UntilCloseBody)
            self._client_stays = self._client_stays and not is_endless
            self._origin_stays = head.minor_version == 1 and b"close" not in tokens(
                head.fields, b"connection"
            )
            if not self._client_stays:
                fields.append((b"Connection", b"close"))
        self._to_client.append(encode_head(b"HTTP/1.1 %d %b" % (head.status, head.reason), fields))

    def _end_exchange(self, *, has_surplus: bool) -> None:
        if not self._client_stays or not self._request_body.is_complete:
            self._end()
            return
        if has_surplus or not self._origin_stays:
            self._origin = None
        self._response_body = None
        self._state = _State.HEAD
        self._advance()

    # ---- ends

    def _fail(self, error: HttpError, cause: HttpError | None = None) -> None:
        if self._response_body is not None:  # its head has gone out: all that is left is to break off
            self._was_cut = True
        else:
            self._to_client.append(_fault_page(error, cause))
        self._end()

    def _end(self) -> None:
        self._state = _State.OVER
        self._origin = None
        self._buffer.clear()


def failure_page(reason: EndReason | None) -> bytes:
    """Return the page for a stream that could not be opened; None: there is no circuit."""
    page = _UNAVAILABLE if reason is None else _PAGES.get(reason, _PAGES[EndReason.RESET])
    return error_page(*page)


def _fault_page(error: HttpError, cause: HttpError | None) -> bytes:
    if error.answer is not None:
        return error.answer
    titles = {405: "Method not allowed", 502: "Bad answer from the site", 505: "Version not supported"}
    title = titles.get(error.status, "Request not understood")
    allowed = ("Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",) if error.status == 405 else ()
    return error_page(error.status, title, f"The proxy found: {cause or error}.", allowed)


def _refuse_other_protocol(buffer: bytearray) -> None:
    first = buffer[:1]
    if first == b"\x05":
        raise HttpError(400, "SOCKS 5 spoken to the HTTP port", SOCKS5_REFUSED)
    if first == b"\x04":
        raise HttpError(400, "SOCKS 4 spoken to the HTTP port", SOCKS4_REFUSED)
    if first == b"\x16":
        raise HttpError(400, "TLS spoken to the HTTP port; it goes inside CONNECT")


def _host_text(host: bytes) -> str:
    text = host.decode("ascii")
    if text.startswith("["):
        text = text[1:-1] if ":" in text else ""  # brackets are for IPv6 only
    try:
        return canonical_host(text)
    except RemoteProtocolError as error:
        raise HttpError(400, str(error)) from error


def _port(text: bytes) -> int:
    port = int(text or b"80")
    if not 1 <= port <= 65535:
        raise HttpError(400, "port, expected 1 to 65535")
    return port


def _isolation(fields: Fields) -> str:
    """Return the key that SOCKS gives for the same name and password; other schemes isolate as they are."""
    credentials = values(fields, b"proxy-authorization")
    if not credentials:
        return ""
    scheme, _, token = credentials[0].partition(b" ")
    if scheme.lower() == b"basic":
        with contextlib.suppress(binascii.Error):
            user, _, password = binascii.a2b_base64(token.strip(), strict_mode=True).partition(b":")
            return isolation_key(user, password)
    return isolation_key(credentials[0], b"")


def _origin_head(head: RequestHead, authority: bytes, path: bytes, *, stays: bool) -> bytes:
    """Return the head as the origin gets it: origin-form, Host from the target, no hop-by-hop fields."""
    if path[:1] != b"/":
        path = b"*" if head.method == b"OPTIONS" and not path else b"/" + path
    fields: Fields = []
    for name, value in end_to_end(head.fields):
        is_host = name.lower() == b"host"
        fields.append((name, authority) if is_host else (name, value))
    if not values(fields, b"host"):
        fields.insert(0, (b"Host", authority))
    if not stays:
        fields.append((b"Connection", b"close"))
    return encode_head(b"%b %b HTTP/1.%d" % (head.method, path, head.minor_version), fields)


def _response_body(method: bytes, head: ResponseHead) -> BodyReader:
    if method == b"HEAD" or head.status in (204, 304):
        return LengthBody(0)
    length = body_length(head.fields, head.minor_version)
    if length is None:
        return UntilCloseBody()
    return ChunkedBody() if length == -1 else LengthBody(length)
