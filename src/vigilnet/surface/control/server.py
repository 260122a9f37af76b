"""The control socket's server: a unix socket in the state folder, for the node's own user alone.

Where there are none it is a port of this machine whose key is in the state folder (`door`).
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.surface.control import door
from vigilnet.surface.control.auth import may_control, peer_uid
from vigilnet.surface.control.events import EventFeed
from vigilnet.surface.control.operations import Role
from vigilnet.surface.control.recent import Recent
from vigilnet.surface.control.schema import (
    MAX_REQUEST,
    ControlError,
    ErrorCode,
    Request,
    as_json,
    decode_request,
    encode_error,
    encode_event,
    encode_text,
)
from vigilnet.surface.control.socket_path import HAS_UNIX_SOCKETS, reachable
from vigilnet.surface.control.steering import Steering

MAX_SESSIONS: Final = 16
IDLE_S: Final = 60.0
WRITE_S: Final = 10.0

_log = get_logger(__name__)


class ControlServer:
    """Answers requests until closed.

    Args:
        path: where the socket is made; its folder must be of mode 0700 and locked by this process.
        steering: serves the requests.
        events: what sessions may watch.
        is_unix: whether it is a unix socket, and not a port with a key.
    """

    def __init__(
        self, path: Path, steering: Steering, events: EventFeed, *, is_unix: bool = HAS_UNIX_SOCKETS
    ) -> None:
        self._path = path
        self._is_unix = is_unix
        self._door: door.Door | None = None
        self._steering = steering
        self._events = events
        self._sessions = TaskGroup("control")
        self._watches = TaskGroup("control watch")
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Make the socket and listen.

        Raises:
            EnvironmentRefusedError: the socket cannot be made.
        """
        try:
            listener = _bind(self._path) if self._is_unix else door.listen()
        except OSError as error:
            raise EnvironmentRefusedError(
                f"control socket {self._path}: cannot be made: {error.strerror}"
            ) from error
        if sys.platform != "win32" and self._is_unix:
            self._server = await asyncio.start_unix_server(self._opened, sock=listener, limit=MAX_REQUEST)
        else:
            self._door = door.new_door(listener.getsockname()[1])
            self._server = await asyncio.start_server(self._opened, sock=listener, limit=MAX_REQUEST)
            self._door.write(self._path)

    async def close(self) -> None:
        """Stop listening, end the sessions and remove the socket; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        await self._sessions.close()
        await self._watches.close()
        await asyncio.sleep(0)  # lets the closed sessions' sockets go before the loop may end

    def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        if self._is_unix and not may_control(peer_uid(connection)):
            _log.warning("control socket: another user was refused")
            self._turn_away(
                writer, ErrorCode.FORBIDDEN, "control socket: only the node's own user may use it"
            )
        elif len(self._sessions) >= MAX_SESSIONS or self._sessions.is_closed:
            self._turn_away(
                writer, ErrorCode.BUSY, f"control socket: {MAX_SESSIONS} sessions are open already"
            )
        else:
            task = self._sessions.start("session", self._serve(reader, writer))
            task.add_done_callback(lambda _: writer.close())  # also of one cancelled before its first step

    @staticmethod
    def _turn_away(writer: asyncio.StreamWriter, code: ErrorCode, message: str) -> None:
        writer.write(encode_error(0, code, message))
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._door is not None and not await door.wait_proven(self._door, reader, writer):
            _log.warning("control port: a stranger was turned away")
            return
        idle, recent = _IdleTimer(writer), Recent()
        try:
            while True:
                idle.begin()
                try:
                    line = await reader.readline()
                except ValueError:  # longer than the limit
                    self._turn_away(
                        writer, ErrorCode.BAD_REQUEST, f"request: longer than {MAX_REQUEST} octets"
                    )
                    return
                if not line.endswith(b"\n"):
                    return
                idle.end()
                reply, request = await self._answer(line, recent)
                await _write(writer, reply)
                if request is not None and request.method == "stop":
                    self._steering.stop()
                if request is not None and request.method == "watch":
                    await self._watch(request, reader, writer)
                    return
        except (TimeoutError, ConnectionError):
            return
        finally:
            idle.close()

    async def _answer(self, line: bytes, recent: Recent) -> tuple[bytes, Request | None]:
        """Return the reply, and the request if it was served."""
        try:
            request = decode_request(line)
        except ControlError as error:
            return encode_error(0, error.code, str(error)), None
        now, changes = asyncio.get_running_loop().time(), self._steering.changes
        text = recent.find(request, now, changes)
        if text is not None:
            return encode_text(request.id, text), request
        try:
            result = await self._steering.do(request.method, request.params)
            if request.method == "watch":
                self._events.check(_topics(request))
            text = as_json(result)
        except ControlError as error:
            return encode_error(request.id, error.code, str(error), error.why, error.next), None
        except Exception as error:  # noqa: BLE001 a bug costs one answer, not the session
            _log.failure("control request failed, this is a bug: please report it", error)
            message = f"{request.method}: internal error ({type(error).__name__}); see vigilnet logs"
            return encode_error(request.id, ErrorCode.FAILED, message), None
        recent.keep(request, now, changes, text)
        return encode_text(request.id, text), request

    async def _watch(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send events until the client leaves; whoever does not read them is left behind and closed."""
        topics = _topics(request)
        gone = self._watches.start("watched", reader.read(1))
        try:
            with self._events.subscribe(topics, Role.FULL) as subscription:
                while True:
                    waiting = self._watches.start("event", subscription.next())
                    done, _ = await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
                    if gone in done:
                        waiting.cancel()
                        return
                    for topic, data in waiting.result():
                        await _write(writer, encode_event(topic, data))
        finally:
            gone.cancel()


class _IdleTimer:
    """Closes a session that asks nothing for `IDLE_S`; it is set once in that time, not for each request."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._idle_since: float | None = None
        self._handle = self._loop.call_later(IDLE_S, self._look)

    def begin(self) -> None:
        """The session waits for a request from now on."""
        self._idle_since = self._loop.time()

    def end(self) -> None:
        """One has come."""
        self._idle_since = None

    def close(self) -> None:
        """The session is over."""
        self._handle.cancel()

    def _look(self) -> None:
        left = IDLE_S if self._idle_since is None else self._idle_since + IDLE_S - self._loop.time()
        if left <= 0:
            self._writer.close()
        else:
            self._handle = self._loop.call_later(left, self._look)


def _topics(request: Request) -> tuple[str, ...]:
    """Return what an accepted `watch` asks for."""
    return tuple(request.params.get("topics", ()))


async def _write(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    if writer.transport.get_write_buffer_size():  # seldom: most answers fit into the socket
        async with asyncio.timeout(WRITE_S):
            await writer.drain()


def _bind(path: Path) -> socket.socket:
    """Make the listening socket; the caller holds the folder's lock, so an old socket is a dead one's."""
    if sys.platform == "win32":
        raise OSError(0, "no unix sockets here")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with reachable(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
