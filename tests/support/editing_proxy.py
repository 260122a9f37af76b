"""An attacker on the wire: a TCP proxy in a host of its own that changes what passes, as told.

It runs as threads of the test; only its sockets belong to the host.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.netns import Namespace

Edit = Callable[["Passing"], bytes]


@dataclass
class Passing:
    """Some octets on their way."""

    octets: bytes
    is_from_client: bool
    offset: int  # of the first of them in this direction of this connection


def honest(passing: Passing) -> bytes:
    """Change nothing."""
    return passing.octets


class EditingProxy:
    """Passes connections on from ports of its own to others; those from `victim` are edited.

    Args:
        host: where it listens.
        victim: the address whose connections are edited.
    """

    def __init__(self, host: Namespace, victim: str) -> None:
        self.edit: Edit = honest
        self.edited = 0
        self.connections = 0  # of the victim
        self._host = host
        self._victim = victim
        self._open: list[socket.socket] = []

    def forward(self, port: int, target: tuple[str, int]) -> None:
        """Pass connections to `port` on to `target`."""
        with self._host.entered():
            listener = socket.create_server((self._host.v4, port), backlog=64)
        self._open.append(listener)
        threading.Thread(target=self._accept, args=(listener, target), daemon=True).start()

    def close(self) -> None:
        """Close everything."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        while True:
            try:
                client, (address, *_) = listener.accept()
            except OSError:
                return
            try:
                with self._host.entered():
                    server = socket.create_connection(target, 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._open += (client, server)
            is_victim = address == self._victim
            self.connections += is_victim
            for source, sink, is_from_client in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pump, args=(source, sink, is_from_client, is_victim), daemon=True
                ).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, is_from_client: bool, is_victim: bool
    ) -> None:
        offset = 0
        with contextlib.suppress(OSError):
            while octets := source.recv(1 << 16):
                changed = self.edit(Passing(octets, is_from_client, offset)) if is_victim else octets
                self.edited += changed != octets
                offset += len(octets)
                sink.sendall(changed)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
