"""The control socket's client: asks one node, waits for the answer (blocking, for short-lived programs)."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.surface.control.auth import may_be_trusted, peer_uid
from vigilnet.surface.control.schema import (
    MAX_REPLY,
    Circuit,
    Invite,
    Method,
    NewIdentity,
    Peer,
    Request,
    Status,
    Stream,
    Version,
    WelcomeList,
    decode_reply,
    read,
)
from vigilnet.surface.control.socket_path import reachable, socket_of

TIMEOUT_S: Final = 10.0


class NotRunningError(VigilnetError):
    """No node answers on this state folder."""

    kind = ErrorKind.UNREACHABLE


class ControlClient:
    """One session with the node whose state is in `folder`; use in a `with` block.

    Raises:
        NotRunningError: nothing listens there, or it ended or stopped answering.
        ControlError: the node refused the request.
    """

    def __init__(self, folder: Path, timeout: float = TIMEOUT_S) -> None:
        self._folder = folder
        self._next_id = 0
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            with reachable(socket_of(folder)) as name:
                self._socket.connect(name)
            uid = peer_uid(self._socket)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NotRunningError(
                f"no node runs with state folder {folder}; start one: vigilnet run"
            ) from error
        except OSError as error:
            self._socket.close()
            raise NotRunningError(f"control socket in {folder}: {error.strerror or 'no answer'}") from error
        if not may_be_trusted(uid):  # someone else listens where our node should
            self._socket.close()
            raise NotRunningError(f"control socket in {folder}: served by another user, not asked")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session."""
        self._socket.close()

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 JSON
        """Ask and return the plain result."""
        self._next_id += 1
        request = Request(self._next_id, method, params or {})
        try:
            self._socket.sendall(request.encode())
            line = self._read_line()
        except OSError as error:
            raise NotRunningError(f"node with state folder {self._folder}: does not answer") from error
        return decode_reply(line, self._next_id)

    def status(self) -> Status:
        """How the node is."""
        return read(Status, self.call(Method.STATUS))

    def circuits(self) -> tuple[Circuit, ...]:
        """The node's own circuits."""
        return read(tuple[Circuit, ...], self.call(Method.CIRCUITS))

    def streams(self) -> tuple[Stream, ...]:
        """The node's own streams."""
        return read(tuple[Stream, ...], self.call(Method.STREAMS))

    def new_identity(self) -> NewIdentity:
        """Have new streams take new circuits."""
        return read(NewIdentity, self.call(Method.NEW_IDENTITY))

    def peers(self) -> tuple[Peer, ...]:
        """The relays that the node knows."""
        return read(tuple[Peer, ...], self.call(Method.PEERS))

    def invite(self, peer_id: str = "") -> Invite:
        """An invite to this relay, or to one that it knows."""
        return read(Invite, self.call(Method.INVITE, {"peer_id": peer_id} if peer_id else {}))

    def add_invite(self, uri: str) -> Invite:
        """Have the node take in an invite."""
        return read(Invite, self.call(Method.ADD_INVITE, {"uri": uri}))

    def welcome_list(self) -> WelcomeList:
        """A welcome list of the relays that the node knows."""
        return read(WelcomeList, self.call(Method.WELCOME_LIST))

    def version(self) -> Version:
        """The node's version."""
        return read(Version, self.call(Method.VERSION))

    def stop(self) -> None:
        """Ask the node to stop; it has only begun to when this returns."""
        self.call(Method.STOP)

    def _read_line(self) -> bytes:
        parts = [self._rest]
        size = len(self._rest)
        while b"\n" not in parts[-1]:
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionResetError("closed")
            parts.append(part)
            size += len(part)
            if size > MAX_REPLY:
                raise RemoteProtocolError(f"control reply: longer than {MAX_REPLY} octets")
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line
