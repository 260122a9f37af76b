"""A web server of today's OpenSSL on loopback: the one inside `cryptography`, which knows X25519MLKEM768.

Speaks HTTP/1.1 or nothing but TLS; one thread for each connection. Debian's own OpenSSL is older.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from OpenSSL import SSL

BODY = b"<!doctype html><title>A page of today</title>"
ANSWER = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: %d\r\n\r\n" % len(BODY)
_PATIENCE_S = 30


@dataclass
class ModernServer:
    """Where it listens, and what it saw: one entry for each handshake that went through."""

    port: int
    groups: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)


def _serve(server: ModernServer, context: SSL.Context, sock: socket.socket) -> None:
    with sock:
        sock.settimeout(_PATIENCE_S)
        sock.setblocking(True)
        connection = SSL.Connection(context, sock)
        connection.set_accept_state()
        try:
            connection.do_handshake()
            server.groups.append(connection.get_group_name() or "")
            while True:
                data = connection.recv(65_536)
                if data.endswith(b"\r\n\r\n"):
                    connection.sendall(ANSWER + BODY)
        except SSL.Error as error:
            server.alerts.append(str(error))


@contextlib.contextmanager
def modern_server(folder: Path) -> Iterator[ModernServer]:
    """Run it; the folder holds chain.pem and key.pem."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(folder / "chain.pem"))
    context.use_privatekey_file(str(folder / "key.pem"))
    context.set_alpn_select_callback(lambda _, offered: b"http/1.1" if b"http/1.1" in offered else b"")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ModernServer(int(listener.getsockname()[1]))

        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    threads.append(threading.Thread(target=_serve, args=(server, context, sock), daemon=True))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (acceptor, *threads):
                thread.join(_PATIENCE_S)
