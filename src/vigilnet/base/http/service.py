"""The HTTP server: listeners, connections and their ends.

Each connection is one task around a `ServerSession`. Strangers may be slow, greedy or gone at any time; what
they can take is `Limits` times `Bounds`.
"""

import asyncio
import contextlib
import inspect
import socket
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.http.guards import account_of
from vigilnet.base.http.messages import Request, Response, error_response, response_to
from vigilnet.base.http.routes import Route, Routes, find_route
from vigilnet.base.http.session import Limits, ServerSession, Stage
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup

READ_SIZE: Final = 16_384
PIECE_SIZE: Final = 65_536  # of a body in parts
LINGER_S: Final = 2.0
TLS_HANDSHAKE_S: Final = 10.0
BACKLOG: Final = 100
ACCEPT_AGAIN_S: Final = 1.0  # when the system gives no more sockets
MAX_LINGER: Final = 16 * 1024 * 1024  # octets of a refused body that are read and thrown away

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all connections together may take of us."""

    max_connections: int = 256
    max_per_address: int = 64  # of one IPv4 address or IPv6 /64; unix sockets do not count


class HttpServer:
    """Serves groups of routes on any number of listeners until closed.

    Args:
        groups: the first one that has a path answers for it; more may be appended while it runs.
        clock: time.
        limits: for one connection.
        bounds: for all of them.
        uid_of: tells the user at the other end of a unix socket.
    """

    def __init__(
        self,
        groups: Sequence[Routes],
        clock: Clock,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
        uid_of: Callable[[socket.socket], int | None] = lambda connection: None,
    ) -> None:
        self.groups = list(groups)
        self.total = 0  # connections so far
        self._clock = clock
        self._limits = limits or Limits()
        self._bounds = bounds or Bounds()
        self._uid_of = uid_of
        self._tasks = TaskGroup("http")
        self._servers: list[asyncio.Server] = []
        self._listeners: list[socket.socket] = []  # of TLS
        self._open: Counter[str] = Counter()

    @property
    def active(self) -> int:
        """How many connections are open."""
        return self._open.total()

    @property
    def failures(self) -> list[Exception]:
        """Bugs that came up, the first few."""
        return self._tasks.failures

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, by https if there is a context; return the port that was bound.

        Raises:
            OSError: it cannot be bound.
        """
        if tls is None:
            server = await asyncio.start_server(self._opened, host, port, limit=READ_SIZE)
            self._servers.append(server)
            return int(server.sockets[0].getsockname()[1])
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._tasks.start("accept", self._accept(listener, tls))
        return int(listener.getsockname()[1])

    async def listen_socket(self, listener: socket.socket) -> None:
        """Listen on a bound socket, TCP or unix."""
        if sys.platform != "win32" and listener.family == socket.AF_UNIX:
            server = await asyncio.start_unix_server(self._opened, sock=listener, limit=READ_SIZE)
        else:
            server = await asyncio.start_server(self._opened, sock=listener, limit=READ_SIZE)
        self._servers.append(server)

    async def close(self) -> None:
        """Stop listening and end all connections; safe to call twice."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self._tasks.close()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await asyncio.sleep(0)  # lets the closed connections' sockets go before the loop may end

    def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        template = self._template(writer)
        if not self._start(template, lambda: self._serve(reader, writer, template), writer.close):
            writer.close()  # no answer: whoever floods us is owed none

    def _start(
        self, template: Request, serve: Callable[[], Coroutine[Any, Any, None]], close: Callable[[], None]
    ) -> bool:
        """Serve a connection if there is room for it, and close it at the end."""
        account = account_of(template.peer)
        is_full = self.active >= self._bounds.max_connections
        if self._tasks.is_closed or is_full or self._has_enough(account):
            return False
        self.total += 1
        self._open[account] += 1

        def ended(_: object) -> None:
            self._open[account] -= 1
            if not self._open[account]:
                del self._open[account]
            close()

        self._tasks.start("connection", serve()).add_done_callback(ended)
        return True

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext) -> None:
        """Let connections in that have yet to shake hands: they count from their first moment."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            template = Request("", "", peer=str(peer[0]), port=int(listener.getsockname()[1]))
            ours = [connection]  # until a transport has it
            serve, close = partial(self._serve_tls, ours, tls, template), partial(_close_all, ours)
            if not self._start(template, serve, close):
                close()

    async def _serve_tls(self, ours: list[socket.socket], tls: ssl.SSLContext, template: Request) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_SIZE)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, ours.pop(), ssl=tls, ssl_handshake_timeout=TLS_HANDSHAKE_S
            )
        except OSError:  # no TLS, or not in time
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._serve(reader, writer, template)
        finally:
            writer.close()

    def _template(self, writer: asyncio.StreamWriter) -> Request:
        connection: Any = writer.get_extra_info("socket")
        if connection.family == getattr(socket, "AF_UNIX", None):
            return Request("", "", uid=self._uid_of(connection))
        name, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        return Request("", "", peer=str(peer[0]) if peer else "?", port=int(name[1]))

    def _has_enough(self, account: str) -> bool:
        return bool(account) and self._open[account] >= self._bounds.max_per_address

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, template: Request
    ) -> None:
        chosen: list[Route] = []

        def judge(request: Request) -> int | Response:
            route = find_route(self.groups, request, self._clock.now())
            if isinstance(route, Response):
                return route
            chosen[:] = [route]
            return route.max_body

        session = ServerSession(judge, template, self._limits, self._clock.now())
        try:
            while session.stage is not Stage.OVER:
                request = session.next_request(self._clock.now())
                if request is None:
                    request = await self._read(session, reader)
                if request is not None:
                    await self._answer(session, request, chosen[0], reader, writer)
                await self._flush(session, writer)
            if session.was_refused_unread:
                await _linger(reader, writer)
            await self._finish(writer)
        except (OSError, TimeoutError):  # what was not taken is dropped, or it would wait here for ever
            writer.transport.abort()

    async def _finish(self, writer: asyncio.StreamWriter) -> None:
        """Close once the other end has taken everything; until then the connection counts."""
        writer.close()
        async with asyncio.timeout(self._limits.answer_s):
            await writer.wait_closed()

    async def _read(self, session: ServerSession, reader: asyncio.StreamReader) -> Request | None:
        if session.stage is Stage.OVER:
            return None
        due = session.deadline()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock.now())):
                data = await reader.read(READ_SIZE)
        except TimeoutError:
            session.on_deadline(self._clock.now())
            return None
        return session.receive(data, self._clock.now())

    async def _answer(
        self,
        session: ServerSession,
        request: Request,
        route: Route,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        response = await _response_of(route, request)
        session.answer(response, self._clock.now())
        if isinstance(response.body, bytes):
            return
        if isinstance(response.body, tuple):
            await self._send_parts(session, response.body, writer)
        else:
            await self._stream(session, response.body, reader, writer)
        session.end_answer(self._clock.now())

    async def _send_parts(
        self, session: ServerSession, parts: tuple[bytes, ...], writer: asyncio.StreamWriter
    ) -> None:
        """Send a body of known length; only one piece of it is copied at a time."""
        async with asyncio.timeout(self._limits.answer_s):
            for piece in _pieces(parts):
                session.send_chunk(piece)
                await self._flush(session, writer)

    async def _stream(
        self,
        session: ServerSession,
        body: AsyncIterator[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Send a body as it comes; give up once the other end is gone."""
        await self._flush(session, writer)
        gone = self._tasks.start("watch", _wait_gone(reader))
        try:
            while True:
                step = self._tasks.start("chunk", _next_chunk(body))
                try:
                    await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not step.done():
                        step.cancel()
                        await asyncio.wait((step,))
                if step.cancelled():
                    raise ConnectionError("the other end is gone")
                chunk = step.result()
                if chunk is None:
                    return
                session.send_chunk(chunk)
                await self._flush(session, writer)
        finally:
            gone.cancel()
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    async def _flush(self, session: ServerSession, writer: asyncio.StreamWriter) -> None:
        data = session.data_to_send()
        if data:
            writer.write(data)
            async with asyncio.timeout(self._limits.answer_s):
                await writer.drain()


def _close_all(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


async def _response_of(route: Route, request: Request) -> Response:
    try:
        response = route.answer(request)
        if inspect.isawaitable(response):
            response = await response
    except VigilnetError as error:
        response = response_to(error)
    except Exception as error:  # noqa: BLE001 one place: a bug in one route must not end the server
        _log.failure("http route failed, this is a bug: please report it", error)
        response = error_response(500, "internal error")
    if route.headers:
        return Response(
            response.status, response.body, response.content_type, {**route.headers, **response.headers}
        )
    return response


def _pieces(parts: tuple[bytes, ...]) -> Iterator[bytes]:
    """Give the parts joined to pieces of about `PIECE_SIZE`."""
    batch: list[bytes] = []
    size = 0
    for part in parts:
        batch.append(part)
        size += len(part)
        if size >= PIECE_SIZE:
            yield b"".join(batch)
            batch, size = [], 0
    yield b"".join(batch)


async def _next_chunk(body: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(body)
    except StopAsyncIteration:
        return None


async def _wait_gone(reader: asyncio.StreamReader) -> None:
    """Wait until the other end closes; what it sends while it is streamed to is not read for."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(READ_SIZE):
            pass


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the other end read our refusal before a reset could take it away."""
    with contextlib.suppress(TimeoutError, OSError):
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            left = MAX_LINGER
            while left > 0 and (data := await reader.read(READ_SIZE)):
                left -= len(data)
