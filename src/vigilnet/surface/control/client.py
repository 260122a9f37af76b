"""The control socket's client: asks one node, waits for the answer (blocking, for short-lived programs)."""

import errno
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.surface.control import door, models
from vigilnet.surface.control.auth import may_be_trusted, peer_uid
from vigilnet.surface.control.operations import OPERATIONS
from vigilnet.surface.control.schema import (
    MAX_REPLY,
    ControlError,
    ErrorCode,
    Request,
    decode_event,
    decode_reply,
    read,
)
from vigilnet.surface.control.socket_path import reachable, socket_of

TIMEOUT_S: Final = 10.0


class NotRunningError(VigilnetError):
    """No node answers on this state folder.

    Attributes:
        next: what to do now, a command line.
    """

    kind = ErrorKind.UNREACHABLE

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next = next_step


def connect(path: Path, timeout: float) -> socket.socket:
    """Return a session with the node whose control socket is at `path`; raises OSError."""
    if sys.platform == "win32":
        return door.connect(path, timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        with reachable(path) as name:
            connection.connect(name)
        if not may_be_trusted(peer_uid(connection)):  # someone else listens where our node should
            raise PermissionError(errno.EPERM, "served by another user, not asked")
    except OSError:
        connection.close()
        raise
    return connection


class ControlClient:
    """One session with the node whose state is in `folder`; use in a `with` block.

    Raises:
        NotRunningError: nothing listens there, or it ended or stopped answering.
        ControlError: the node is another user's, or refused the request.
    """

    def __init__(self, folder: Path, timeout: float = TIMEOUT_S) -> None:
        self._folder = folder
        self._next_id = 0
        self._rest = b""  # read, not yet a whole line
        try:
            self._socket = connect(socket_of(folder), timeout)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise NotRunningError(f"no node runs with state folder {folder}", "vigilnet up") from error
        except PermissionError as error:
            raise ControlError(
                ErrorCode.FORBIDDEN,
                f"state folder {folder}: belongs to another user",
                "only the user of a node and root may steer it",
            ) from error
        except OSError as error:
            raise NotRunningError(f"control socket in {folder}: {error.strerror or 'no answer'}") from error

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
            said = f"node with state folder {self._folder}: does not answer"
            raise NotRunningError(said, "vigilnet doctor") from error
        return decode_reply(line, self._next_id)

    def ask(self, name: str, **params: object) -> Any:  # noqa: ANN401 the operation's model
        """Ask for an operation; returns its model."""
        return read(OPERATIONS[name].result, self.call(name, params), name)  # type: ignore[arg-type]  # a model, or a tuple of it

    def status(self) -> models.Status:
        """How the node is."""
        return read(models.Status, self.call("status"))

    def circuits(self) -> tuple[models.Circuit, ...]:
        """The node's own circuits."""
        return read(tuple[models.Circuit, ...], self.call("circuits"))

    def streams(self) -> tuple[models.Stream, ...]:
        """The node's own streams."""
        return read(tuple[models.Stream, ...], self.call("streams"))

    def peers(self) -> tuple[models.Peer, ...]:
        """The relays that the node knows."""
        return read(tuple[models.Peer, ...], self.call("peers"))

    def reachability(self) -> tuple[models.Finding, ...]:
        """How the node is connected, and what would help."""
        return read(tuple[models.Finding, ...], self.call("reachability"))

    def find_peer(self, peer_id: str) -> tuple[models.Peer, ...]:
        """The relay with this id, looked for if it is not known; empty if it is not found."""
        return read(tuple[models.Peer, ...], self.call("find-peer", {"peer_id": peer_id}))

    def new_identity(self) -> models.NewIdentity:
        """Have new streams take new circuits."""
        return read(models.NewIdentity, self.call("new-identity"))

    def invite(self, peer_id: str = "") -> models.Invite:
        """An invite to this relay, or to one that it knows."""
        return read(models.Invite, self.call("invite", {"peer_id": peer_id}))

    def add_invite(self, uri: str) -> models.Invite:
        """Have the node take in an invite."""
        return read(models.Invite, self.call("add-invite", {"uri": uri}))

    def welcome_list(self) -> models.WelcomeList:
        """A welcome list of the relays that the node knows."""
        return read(models.WelcomeList, self.call("welcome-list"))

    def version(self) -> models.Version:
        """The node's version."""
        return read(models.Version, self.call("version"))

    def stop(self) -> None:
        """Ask the node to stop; it has only begun to when this returns."""
        self.call("stop")

    def watch(self, *topics: str) -> Iterator[tuple[str, Any]]:
        """Give events as (topic, plain data) until the node ends; the session serves nothing else then."""
        self.call("watch", {"topics": list(topics)})
        while True:
            try:
                line = self._read_line()
            except TimeoutError:
                continue
            except OSError:
                return
            yield decode_event(line)

    def _read_line(self) -> bytes:
        """Return the next line; what came of it stays when the time is over."""
        while b"\n" not in self._rest:
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionResetError("closed")
            self._rest += part
            if len(self._rest) > MAX_REPLY:
                raise RemoteProtocolError(f"control reply: longer than {MAX_REPLY} octets")
        line, _, self._rest = self._rest.partition(b"\n")
        return line
