"""The helper: the one process with rights over this machine's network; it speaks to nobody but the daemon.

It answers the requests of `helper_wire` one after the other, opens no connection, reads no file that a user
wrote, and imports nothing that speaks to the network. When the daemon goes away without a word (a crash, a
kill) everything stays closed until it comes back or somebody asks for it to be opened.
"""

import json
import os
import selectors
import socket
import sys
from pathlib import Path
from typing import Any, Final, Protocol

from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.system_io import is_closed_to_others
from vigilnet.traffic.device import helper_socket_io
from vigilnet.traffic.device.backend import Backend
from vigilnet.traffic.device.helper_socket_io import NOT_ON_WINDOWS
from vigilnet.traffic.device.helper_wire import Group, Operation, Request

MAX_SESSIONS: Final = 8

_log = get_logger(__name__)


class Session:
    """One process that speaks to the helper."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pid, self.uid = helper_socket_io.peer_of(connection)


class Changes(Protocol):
    """What the helper hears of the network."""

    def fileno(self) -> int:
        """The descriptor to wait for."""
        ...

    def have_come(self) -> bool:
        """Whether other interfaces lead out than before."""
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


class Helper:
    """Serves one socket until `stop` is called.

    Args:
        backend: does what is asked.
        listener: of kind `helper_socket_io.KIND`, listening.
        owner: the user whose daemon may ask; root may, too.
        changes: of the network, which the firewall follows; None where the system needs none.
    """

    def __init__(
        self, backend: Backend, listener: socket.socket, owner: int, changes: Changes | None = None
    ) -> None:
        self._backend = backend
        self._changes = changes
        self._listener = listener
        self._owner = owner
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(self._waker, False)  # its own signature
        self._is_stopping = False
        self._sessions: set[Session] = set()
        self._controller: Session | None = None

    def close(self) -> None:
        """Give up all descriptors, once `serve` has ended."""
        for session in list(self._sessions):
            self._close(session)
        self._listener.close()
        if self._changes is not None:
            self._changes.close()
        self._selector.close()
        os.close(self._wake)
        os.close(self._waker)

    def stop(self) -> None:
        """End `serve`; may be called from a signal handler."""
        self._is_stopping = True
        os.write(self._waker, b"x")

    def serve(self) -> None:
        """Answer until stopped."""
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        if self._changes is not None:
            self._selector.register(self._changes, selectors.EVENT_READ, self._changes)
        while not self._is_stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, Session):
                    self._read(key.data)
                elif key.data is not None:
                    self._follow(key.data)

    def _follow(self, changes: Changes) -> None:
        """Close what leads out now, too."""
        try:
            if not changes.have_come():
                return
            if self._backend.is_up:
                self._backend.refresh()
            elif self._backend.is_locked:
                self._backend.set_lockdown(is_on=True)
        except VigilnetError as error:
            _log.error("the firewall does not follow the network: say `vigilnet up` again", reason=str(error))

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # whoever asked is gone, or we have no descriptors left
            _log.warning("nobody could be let in", reason=error.strerror)
            return
        session = Session(connection)
        if session.uid not in (0, self._owner) or len(self._sessions) >= MAX_SESSIONS:
            connection.close()
            return
        connection.settimeout(5.0)
        self._sessions.add(session)
        self._selector.register(connection, selectors.EVENT_READ, session)

    def _read(self, session: Session) -> None:
        descriptors: list[int] = []
        try:
            octets, descriptors = helper_socket_io.receive(session.connection)
            if not octets:
                self._close(session)
                return
            self._answer(session, octets, descriptors)
        except (OSError, RemoteProtocolError):
            self._close(session)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _close(self, session: Session) -> None:
        self._selector.unregister(session.connection)
        session.connection.close()
        self._sessions.discard(session)
        if session is self._controller:
            self._controller = None
            if self._backend.is_up:
                _log.warning("the daemon is gone without a word: nothing is let out until it is back")

    def _answer(self, session: Session, octets: bytes, descriptors: list[int]) -> None:
        given: list[int] = []
        try:
            reply = self._serve(session, Request.decode(octets), descriptors, given)
        except RemoteProtocolError as error:
            reply = {"error": str(error), "kind": "request"}
        except VigilnetError as error:
            reply = {"error": str(error), "kind": "refused"}
        except OSError as error:
            reply = {"error": f"helper: {error.strerror}", "kind": "refused"}
        message = json.dumps(reply, separators=(",", ":")).encode()
        helper_socket_io.send(session.connection, message, given)

    def _serve(
        self, session: Session, request: Request, descriptors: list[int], given: list[int]
    ) -> dict[str, Any]:
        backend, operation = self._backend, request.operation
        if operation in (Operation.UPDATE, Operation.OPEN):
            self._check_controller(session)
        if operation is Operation.HELLO:
            backend.adopt(session.pid, session.uid)
        elif operation is Operation.MARK:
            backend.mark_sockets(descriptors)
        elif operation is Operation.UPDATE and request.settings is not None:
            backend.update(request.settings, session.uid)
        elif operation is Operation.JOIN:
            self._join(session, request)
        elif operation is Operation.OPEN:
            backend.open_addresses(request.purpose, request.addresses, request.seconds)
        elif operation is Operation.LOCKDOWN:
            backend.set_lockdown(is_on=request.is_on)
        else:
            self._up_or_down(session, request, given)
        return self._status()

    def _up_or_down(self, session: Session, request: Request, given: list[int]) -> None:
        if request.operation is Operation.UP and request.settings is not None:
            if self._controller not in (None, session):
                raise EnvironmentRefusedError("device: another node protects it already; stop that one")
            self._controller = session
            given.append(self._backend.up(request.settings, session.uid))
        elif request.operation is Operation.DOWN:
            if self._controller is not None:
                self._check_controller(session)
            self._backend.down()
            self._controller = None

    def _status(self) -> dict[str, Any]:
        backend = self._backend
        return {
            "ok": True,
            "capture": backend.capture.value,
            "framing": backend.framing.value,
            "outer": backend.outer_interface(),
            "is_up": backend.is_up,
            "is_locked": backend.is_locked,
            "can_split": backend.can_split,
            "counters": backend.counters(),
        }

    def _check_controller(self, session: Session) -> None:
        if session is not self._controller:
            raise EnvironmentRefusedError("device: not protected by this node")

    def _join(self, session: Session, request: Request) -> None:
        if request.group == Group.OWN:
            raise RemoteProtocolError("helper request join: nobody else becomes the daemon")
        self._backend.join(request.pid, request.group, session.uid)


def _check_folder(folder: Path) -> None:
    """Refuse to work, with rights, among files that others can replace."""
    if not is_closed_to_others(folder):
        raise EnvironmentRefusedError(f"helper {folder}: others than root can write there, or above it")


def _check_alone(path: Path, *, is_served: bool) -> None:
    if is_served:
        raise EnvironmentRefusedError(f"helper {path}: another one runs already")


def listen(path: Path, owner: int) -> socket.socket:
    """Make the helper's socket, for one user (and root) alone.

    Raises:
        EnvironmentRefusedError: it cannot be made, or another helper has it.
    """
    if sys.platform == "win32":
        raise EnvironmentRefusedError(NOT_ON_WINDOWS)
    listener = socket.socket(socket.AF_UNIX, helper_socket_io.KIND)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check_folder(path.parent)
        with socket.socket(socket.AF_UNIX, helper_socket_io.KIND) as probe:
            is_served = probe.connect_ex(str(path)) == 0
        _check_alone(path, is_served=is_served)
        with_listener = path.with_name(path.name + ".new")
        with_listener.unlink(missing_ok=True)
        listener.bind(str(with_listener))
        with_listener.chmod(0o600)
        os.chown(with_listener, owner, -1)
        listener.listen(4)
        with_listener.rename(path)  # whoever sees it can connect to it
    except OSError as error:
        listener.close()
        raise EnvironmentRefusedError(f"helper {path}: cannot be made: {error.strerror}") from error
    except BaseException:
        listener.close()
        raise
    return listener
