"""The control socket's server: a unix socket in the state folder, for the node's own user alone."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from vigilnet.base.errors import EnvironmentRefusedError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.surface.control.auth import may_control, peer_uid
from vigilnet.surface.control.device import ControlledDevice, serve_device
from vigilnet.surface.control.schema import (
    MAX_REQUEST,
    ControlError,
    ErrorCode,
    Method,
    NewIdentity,
    Request,
    Version,
    decode_request,
    encode_error,
    encode_result,
)
from vigilnet.surface.control.socket_path import reachable

MAX_SESSIONS: Final = 16
IDLE_S: Final = 60.0
WRITE_S: Final = 10.0

_log = get_logger(__name__)


class ControlledNode(Protocol):
    """What the server needs of a node; its snapshots are dataclasses with the fields of `schema`."""

    def status(self) -> object:
        """Snapshot for `schema.Status`."""
        ...

    @property
    def device(self) -> ControlledDevice | None:
        """The room that takes the whole device's traffic; None on a node that is no client."""
        ...

    def circuits(self) -> Sequence[object]:
        """Snapshots for `schema.Circuit`."""
        ...

    def streams(self) -> Sequence[object]:
        """Snapshots for `schema.Stream`."""
        ...

    async def new_identity(self) -> int:
        """Let no circuit that exists take new streams; return how many those are."""
        ...

    def peers(self) -> Sequence[object]:
        """Snapshots for `schema.Peer`."""
        ...

    def invite(self, peer_id: str) -> object:
        """Return what `schema.Invite` says of this relay (empty text) or of one that it knows."""
        ...

    def add_invite(self, uri: str) -> object:
        """Take in an invite; return what `schema.Invite` says of it."""
        ...

    def welcome_list(self) -> object:
        """Return what `schema.WelcomeList` says."""
        ...


class ControlServer:
    """Answers requests until closed.

    Args:
        path: where the socket is made; its folder must be of mode 0700 and locked by this process.
        node: what is steered.
        version: of the program.
        on_stop: called once the request to stop was answered.
    """

    def __init__(self, path: Path, node: ControlledNode, version: str, on_stop: Callable[[], None]) -> None:
        self._path = path
        self._node = node
        self._version = version
        self._on_stop = on_stop
        self._sessions = TaskGroup("control")
        self._server: asyncio.Server | None = None
        self._methods: dict[str, Callable[[Request], Awaitable[object]]] = {
            Method.STATUS: self._status,
            Method.CIRCUITS: self._circuits,
            Method.STREAMS: self._streams,
            Method.NEW_IDENTITY: self._new_identity,
            Method.PEERS: self._peers,
            Method.INVITE: self._invite,
            Method.ADD_INVITE: self._add_invite,
            Method.WELCOME_LIST: self._welcome_list,
            Method.DEVICE: self._device,
            Method.STOP: self._stop,
            Method.VERSION: self._version_of,
        }

    async def start(self) -> None:
        """Make the socket and listen.

        Raises:
            EnvironmentRefusedError: the socket cannot be made.
        """
        try:
            listener = _bind(self._path)
        except OSError as error:
            raise EnvironmentRefusedError(
                f"control socket {self._path}: cannot be made: {error.strerror}"
            ) from error
        self._server = await asyncio.start_unix_server(self._opened, sock=listener, limit=MAX_REQUEST)

    async def close(self) -> None:
        """Stop listening, end the sessions and remove the socket; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        await self._sessions.close()
        await asyncio.sleep(0)  # lets the closed sessions' sockets go before the loop may end

    def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        if not may_control(peer_uid(connection)):
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
        try:
            while True:
                try:
                    async with asyncio.timeout(IDLE_S):
                        line = await reader.readline()
                except ValueError:  # longer than the limit
                    self._turn_away(
                        writer, ErrorCode.BAD_REQUEST, f"request: longer than {MAX_REQUEST} octets"
                    )
                    return
                if not line.endswith(b"\n"):
                    return
                reply, wants_stop = await self._answer(line)
                writer.write(reply)
                async with asyncio.timeout(WRITE_S):
                    await writer.drain()
                if wants_stop:
                    self._on_stop()
        except (TimeoutError, ConnectionError):
            return

    async def _answer(self, line: bytes) -> tuple[bytes, bool]:
        try:
            request = decode_request(line)
        except ControlError as error:
            return encode_error(0, error.code, str(error)), False
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(self._methods)
            return encode_error(
                request.id, ErrorCode.UNKNOWN_METHOD, f"method: unknown, expected {known}"
            ), False
        try:
            return encode_result(request.id, await method(request)), request.method == Method.STOP
        except ControlError as error:
            return encode_error(request.id, error.code, str(error)), False
        except VigilnetError as error:
            return encode_error(request.id, ErrorCode.FAILED, str(error)), False

    async def _status(self, _: Request) -> object:
        return self._node.status()

    async def _circuits(self, _: Request) -> object:
        return self._node.circuits()

    async def _streams(self, _: Request) -> object:
        return self._node.streams()

    async def _new_identity(self, _: Request) -> object:
        return NewIdentity(await self._node.new_identity())

    async def _peers(self, _: Request) -> object:
        return self._node.peers()

    async def _invite(self, request: Request) -> object:
        return self._node.invite(_text(request, "peer_id", ""))

    async def _add_invite(self, request: Request) -> object:
        return self._node.add_invite(_text(request, "uri"))

    async def _welcome_list(self, _: Request) -> object:
        return self._node.welcome_list()

    async def _device(self, request: Request) -> object:
        return await serve_device(self._node.device, request.params)

    async def _stop(self, _: Request) -> object:
        return {"stopping": True}

    async def _version_of(self, _: Request) -> object:
        return Version(self._version)


def _text(request: Request, name: str, default: str | None = None) -> str:
    """Return a parameter that is a text.

    Raises:
        ControlError: it is missing, or is not a text.
    """
    value = request.params.get(name, default)
    if not isinstance(value, str):
        raise ControlError(ErrorCode.BAD_REQUEST, f"request: parameter {name} must be a text")
    return value


def _bind(path: Path) -> socket.socket:
    """Make the listening socket; the caller holds the folder's lock, so an old socket is a dead one's."""
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
