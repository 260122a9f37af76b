"""The daemon's end of the helper: one request at a time, descriptors both ways."""

import asyncio
import json
import os
import select
import socket
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from vigilnet.base.errors import EnvironmentRefusedError, ErrorKind, VigilnetError
from vigilnet.traffic.device import helper_socket_io
from vigilnet.traffic.device.helper_socket_io import NOT_ON_WINDOWS
from vigilnet.traffic.device.helper_wire import MAX_SOCKETS, Operation, Request

ANSWER_S: Final = 30.0


class HelperMissingError(VigilnetError):
    """No helper runs: it must be started by somebody with rights."""

    kind = ErrorKind.REFUSED


class HelperClient:
    """A session with the helper.

    Args:
        path: its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()
        self.session = 0  # another number for each: what one helper was asked, the next does not know

    @property
    def is_connected(self) -> bool:
        """Whether a session is open."""
        return self._connection is not None

    def connect(self) -> None:
        """Open the session if it is not open; raises HelperMissingError."""
        with self._lock:  # a reply on its way to another thread would pass for the end
            self._connect_alone()

    def _connect_alone(self) -> None:
        if self._connection is not None and not self._has_ended(self._connection):
            return
        self.close()
        if sys.platform == "win32":
            raise HelperMissingError(NOT_ON_WINDOWS)
        connection = socket.socket(socket.AF_UNIX, helper_socket_io.KIND)
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise HelperMissingError(
                f"the helper does not run ({self._path}: {error.strerror}); start it with rights (sudo "
                "vigilnet up), or use the SOCKS proxy, which needs none"
            ) from error
        self._connection = connection
        self.session += 1

    @staticmethod
    def _has_ended(connection: socket.socket) -> bool:
        """Whether the helper is gone: between two requests nothing comes but the end."""
        if sys.platform == "win32":
            return False
        poll = select.poll()  # not select(): a busy node has more than 1024 descriptors
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """End the session; the helper keeps everything closed if it is up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def ask(self, request: Request, descriptors: list[int] | None = None) -> tuple[dict[str, Any], int]:
        """Return the reply and a descriptor that came with it, or -1.

        Raises:
            HelperMissingError: the helper is gone.
            EnvironmentRefusedError: it, or the system, refused.
        """
        return await asyncio.to_thread(self._ask, request, descriptors or [])

    def _ask(self, request: Request, descriptors: list[int]) -> tuple[dict[str, Any], int]:
        with self._lock:
            return self._ask_alone(request, descriptors)

    def _ask_alone(self, request: Request, descriptors: list[int]) -> tuple[dict[str, Any], int]:
        connection = self._connection
        if connection is None:
            raise HelperMissingError("helper: no session")
        try:
            helper_socket_io.send(connection, request.encode(), descriptors)
            octets, came = helper_socket_io.receive(connection)
        except OSError as error:
            self.close()
            raise HelperMissingError(f"helper: lost: {error.strerror or error}") from error
        given = came[0] if came else -1
        if not octets:
            self.close()
            raise HelperMissingError("helper: it has ended")
        reply = json.loads(octets)
        if "error" in reply:
            if given >= 0:
                os.close(given)
            raise EnvironmentRefusedError(str(reply["error"]))
        return reply, given


def outward_sockets() -> list[int]:
    """Return descriptors of this process's Internet sockets that are not on loopback: they were made before
    the helper could have them marked.
    """
    found: list[int] = []
    for entry in Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir():
        try:
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            taken = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        try:
            if taken.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(taken):
                found.append(int(entry.name))
        finally:
            taken.close()
    return found


def _is_loopback(taken: socket.socket) -> bool:
    with suppress(OSError):
        host = str(taken.getsockname()[0])
        return host.startswith("127.") or host == "::1"
    return True


def mark_requests(descriptors: list[int]) -> list[list[int]]:
    """Part descriptors into as many messages as they need."""
    return [descriptors[at : at + MAX_SOCKETS] for at in range(0, len(descriptors), MAX_SOCKETS)]


MARK: Final = Request(Operation.MARK)
