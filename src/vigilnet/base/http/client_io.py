"""Asking a server one thing: one connection, one request, one answer, all of it bounded."""

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import h11

from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.http.messages import JSON
from vigilnet.base.http.url import Url

MAX_HEAD: Final = 16_384
READ_SIZE: Final = 65_536

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Url], Awaitable[Connection]]


class UnreachableError(VigilnetError):
    """The server does not answer, or not in time."""

    kind = ErrorKind.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def connect_directly(url: Url) -> Connection:
    """Connect from here: the server sees our address, and the system's resolver its name."""
    context = tls_context(url.pin) if url.is_secure else None
    reader, writer = await asyncio.open_connection(url.host, url.port, ssl=context, limit=READ_SIZE)
    check_pin(url, writer)
    return reader, writer


def tls_context(pin: bytes = b"") -> ssl.SSLContext:
    """Return the context for https, at least TLS 1.2.

    Args:
        pin: without one the system's trust anchors judge; with one `check_pin` does, after the handshake.
    """
    context = ssl.create_default_context()
    if pin:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_pin(url: Url, writer: asyncio.StreamWriter) -> None:
    """Close a connection whose certificate is not the one that the URL names; nothing was sent yet.

    Raises:
        UnreachableError: it is another one.
    """
    if not url.pin:
        return
    tls = writer.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True) if tls is not None else None
    if shown is None or not hmac.compare_digest(hashlib.sha256(shown).digest(), url.pin):
        writer.close()
        raise UnreachableError("http server: shows another certificate than its address names")


async def ask(
    url: Url,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    connect: Connect = connect_directly,
    timeout_s: float = 10.0,
    max_body: int = 65_536,
) -> Answer:
    """Send one request and return the answer; nothing in it tells one asker from another.

    Raises:
        UnreachableError: no connection, or no whole answer in time.
        RemoteProtocolError: the answer is not HTTP, or too long.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await connect(url)
            writer.write(_request(url, method, path, body))
            await writer.drain()
            return await _answer(reader, method, max_body)
    except TimeoutError as error:
        raise UnreachableError(f"http server: no answer within {timeout_s:g} s") from error
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be one
        raise UnreachableError(f"http server: {type(error).__name__}") from error
    finally:
        if writer is not None:
            writer.close()


def _request(url: Url, method: str, path: str, body: bytes | None) -> bytes:
    headers = [("Host", url.authority), ("Accept", JSON), ("Connection", "close")]
    if body is not None:
        headers += [("Content-Type", JSON), ("Content-Length", str(len(body)))]
    http = h11.Connection(h11.CLIENT)
    data = http.send(h11.Request(method=method, target=path, headers=headers)) or b""
    return data + (body or b"")


async def _answer(reader: asyncio.StreamReader, method: str, max_body: int) -> Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    http.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Connection", "close")]))
    http.send(h11.EndOfMessage())
    status, headers, body = 0, {}, bytearray()
    try:
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(READ_SIZE))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > max_body:
                    raise RemoteProtocolError(f"http answer: longer than {max_body} octets")
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, headers, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                raise RemoteProtocolError("http answer: cut off")
    except h11.RemoteProtocolError as error:
        raise RemoteProtocolError("http answer: malformed") from error
